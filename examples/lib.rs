//! Small programs that use Larder; each file beside this is one. `cargo run -p larder-examples --example middleware`
