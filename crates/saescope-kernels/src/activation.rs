//! Elementwise non-linearities.

/// A non-linearity of an MLP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// `x Phi(x)` with the exact normal distribution function (Hendrycks & Gimpel 2016).
    Gelu,
    /// The tanh approximation of GELU, "gelu_new" and "gelu_pytorch_tanh" in checkpoints.
    GeluTanh,
    /// `x sigmoid(x)`.
    Silu,
    /// `max(0, x)`.
    Relu,
}
