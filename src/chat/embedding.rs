//! Texts to be embedded, and their vectors: the hub of all languages of embeddings.
//!
//! In: what a request's decoder or an answer's decoder read. Out: the same, for the encoders. A
//! vector stays as it was written until somebody wants it otherwise. Never: rounds a number that
//! nobody asked to have in another form.

use super::Raw;
use std::borrow::Cow;

/// What to embed, and how.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EmbeddingRequest<'a> {
    pub inputs: Vec<EmbeddingInput<'a>>,
    /// The length of the vectors.
    pub dimensions: Option<u64>,
    /// The client wants its vectors as base64 of little-endian 32-bit floats.
    pub base64: bool,
    pub purpose: Option<Purpose>,
    /// Of the document, for Gemini.
    pub title: Option<Cow<'a, str>>,
    pub user: Option<Cow<'a, str>>,
    /// Cohere's `truncate`.
    pub truncate: Option<Cow<'a, str>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EmbeddingInput<'a> {
    Text(Cow<'a, str>),
    /// A JSON array of token numbers.
    Tokens(Raw<'a>),
}

/// What the vectors are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Query,
    Document,
    Classification,
    Clustering,
    Similarity,
}

/// The vectors, in the order of the inputs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Embeddings<'a> {
    pub vectors: Vec<Vector<'a>>,
    pub input_tokens: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Vector<'a> {
    /// A JSON array of numbers.
    Numbers(Raw<'a>),
    /// Base64 of little-endian 32-bit floats.
    Base64(Cow<'a, str>),
}
