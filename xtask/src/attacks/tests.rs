//! Tests of the cases.
