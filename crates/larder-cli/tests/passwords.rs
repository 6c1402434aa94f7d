//! Passwords in URLs of stores and origins, right and wrong ones, appear in no message.

mod process;

use process::{config_dir::ConfigDir, larder};

/// URLs of stores with a password. Most are wrong, in the ways in which people mistype them.
const STORES: [&str; 36] = [
    "redis://user:SECRET@h:port/0",
    "redis://user:SECRET@h:99999",
    "redis://user:SECRET@/0",
    "redis://user:SECRET@h/abc",
    "redis://:SECRET@h/0?x=y",
    "redis://user:SECRET",
    "redis://user:SECRET/0",
    "redis:user:SECRET@h",
    "redis:/user:SECRET@h",
    "redis//user:SECRET@h",
    "user:SECRET@h:6379",
    "//user:SECRET@h",
    "redis:// user:SECRET@h",
    "redis://user:SEC RET@h",
    "redis://user:SECRET@@h",
    "redis://user:SEC@RET@h",
    "redis://user:SEC/RET@h",
    "redis://user:SEC#RET@h",
    "redis://user:SEC?RET@h",
    "redis://[::1?password=SECRET",
    "redis+cluster://user:SECRET@a:1,b:x",
    "redis+cluster://a:1,user:SECRET@b:x",
    "redis+cluster://user:SECRET@a:1,user:SECRET@b:2",
    "redis+sentinel://user:SECRET@a:1",
    "redis+sentinel://user:SECRET@a:1,b/master/x",
    "redis+sentinel://user:SECRET@a:1/master/0/1",
    "rediss+foo://user:SECRET@h",
    "rediss://user:SECRET@h#x",
    "valkey://user:SECRET@h",
    "rdis://user:SECRET@h",
    "REDIS://user:SECRET@h:x",
    "memory:user:SECRET@h",
    "redis://user:%ZZSECRET@h",
    "redis://user:SECRET@[::1",
    "redis://user:SECRET@127.0.0.1:1",
    "redis://127.0.0.1:1/?password=SECRET",
];

#[test]
fn no_message_contains_a_password() {
    let dir = ConfigDir::new();
    let origin = "origins = \"http://127.0.0.1:1\"";
    let stores = STORES.iter().map(|url| format!("store = \"{url}\"\n[[route]]\n{origin}"));
    let origins = ["http://user:SECRET@h", "http//user:SECRET@h", "user:SECRET@h", "http://user:SECRET"]
        .map(|url| format!("[[route]]\norigins = \"{url}\""));
    for config in stores.chain(origins) {
        let path = dir.write(&config);
        for args in [&["check", &path][..], &["proxy", "--config", &path, "--check"]] {
            let output = larder().args(args).output().expect("it runs");
            let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            assert!(!text.is_empty());
            assert!(!text.contains("SEC") && !text.contains("RET"), "{config}: {text}");
        }
    }
    for url in STORES {
        let output = larder().args(["stats", "--store", url]).output().expect("it runs");
        assert!(!output.status.success(), "{url}");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(!errors.contains("SEC") && !errors.contains("RET"), "{url}: {errors}");
    }
}
