//! Workflows as people write them, checked and compiled: from a document to a [`plan::Plan`], and what an input must be.

pub mod budget;
pub mod compile;
pub mod input;
pub mod name;
pub mod params;
pub mod plan;
pub mod shape;

mod fields;
mod json_schema;
