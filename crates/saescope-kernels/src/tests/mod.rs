//! Every kernel against a plain f64 loop, over odd shapes, under every instruction set of the
//! machine.

mod attention;
mod common;
mod elementwise;
mod encoding;
mod products;
mod rows;
mod training;
