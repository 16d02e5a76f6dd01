//! The evidence of features for other programs and for people without the store.

mod neuronpedia;
mod page;

pub use neuronpedia::{Written, dashboard_batches, neuronpedia_batches};
pub use page::feature_page;
