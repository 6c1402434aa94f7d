//! A cache that makes the usual mistakes.
