//! The guide for users of aiohttp: its Rust programs are no longer than those in Python.

const GUIDE: &str = include_str!("../../docs/from-aiohttp.md");

/// Returns the number of lines in each block of code in this language.
fn lengths(language: &str) -> Vec<usize> {
    let beginning = format!("```{language}");
    let blocks = GUIDE.split(&beginning).skip(1);
    let code = blocks.filter_map(|block| block.split("```").next()?.split_once('\n'));
    code.map(|(_, code)| code.lines().filter(|line| !line.trim().is_empty()).count()).collect()
}

#[test]
fn rust_is_no_longer_than_python() {
    let (python, rust) = (lengths("python"), lengths("rust"));
    assert_eq!((python.len(), rust.len()), (5, 5));
    for (number, (python, rust)) in python.iter().zip(&rust).enumerate() {
        assert!(rust <= python, "program {number}: {rust} lines, and {python} in Python");
    }
}
