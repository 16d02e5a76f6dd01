//! An autoencoder in words.

use saescope::Gate;
use saescope::sae::{InputNorm, Sae};

/// The activation function of an autoencoder.
pub(crate) fn gate(sae: &Sae) -> String {
    match sae.gate() {
        Gate::Positive => "ReLU".to_owned(),
        Gate::TopK(k) => format!("TopK, k {k}"),
        Gate::Above(_) => "JumpReLU".to_owned(),
    }
}

/// The properties of an autoencoder, name by name.
pub(crate) fn parts(sae: &Sae) -> Vec<(&'static str, String)> {
    let record = sae.record();
    let kind = if sae.is_transcoder() {
        "transcoder"
    } else {
        "autoencoder"
    };
    let norm = match sae.input_norm() {
        InputNorm::None => "none".to_owned(),
        InputNorm::LayerNorm => "layer norm, undone after the decoder".to_owned(),
        InputNorm::Scale(scale) => format!("times {scale}"),
        InputNorm::ConstantNorm => "to norm sqrt(d_in)".to_owned(),
    };
    let centred = if sae.centres() {
        ", mean taken off first"
    } else {
        ""
    };
    let unknown = || "not named".to_owned();
    let mut parts = vec![
        ("format", record.format.name().to_owned()),
        ("kind", format!("{kind}, {}", gate(sae))),
        ("model", record.model.clone().unwrap_or_else(unknown)),
        (
            "site",
            record.site.map_or_else(unknown, |site| site.to_string()),
        ),
    ];
    if let Some(site) = record.out_site {
        parts.push(("out site", site.to_string()));
    }
    let out = if record.d_out == record.d_in {
        String::new()
    } else {
        format!(", d_out {}", record.d_out)
    };
    parts.push((
        "shapes",
        format!("d_in {}, d_sae {}{out}", record.d_in, record.d_sae),
    ));
    parts.push(("input norm", format!("{norm}{centred}")));
    if let Some(context) = record.context {
        parts.push(("context", format!("{context} tokens")));
    }
    if let Some(bos) = record.prepend_bos {
        let with = if bos { "with BOS" } else { "without BOS" };
        parts.push(("trained", with.to_owned()));
    }
    parts
}
