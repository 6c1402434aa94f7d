//! Benchmarks only; see `benches/`. `cargo xtask bench engine` runs them.
