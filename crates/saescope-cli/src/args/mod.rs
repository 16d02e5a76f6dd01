//! Arguments that several commands share.

pub(crate) mod hub;
pub(crate) mod output;
pub(crate) mod pooling;
pub(crate) mod stdin;
pub(crate) mod stop;
pub(crate) mod store;
pub(crate) mod value;

pub(crate) mod model;
pub(crate) mod sampling;

pub(crate) mod corpus;
pub(crate) mod sae;

pub(crate) mod edits;
