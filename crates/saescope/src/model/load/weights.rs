//! From a checkpoint's tensors to a model's weights.

use std::cell::RefCell;
use std::collections::BTreeSet;

use saescope_kernels::{Matrix, Precision, Weight};

use super::names::{Heads, Names, is_buffer};
use super::rows::{self, Order, Rows};
use crate::checkpoint::{Checkpoint, Tensor};
use crate::error::{Error, Result};
use crate::model::block::{Block, Linear, Norm, Weights};
use crate::model::config::{Config, NormKind, Parsed, Positions, Presence, Tensors};

/// Reader of the tensors of one checkpoint, each with the shape that the configuration requires.
pub(super) struct Reader<'a> {
    checkpoint: &'a Checkpoint,
    config: &'a Config,
    /// The optional tensors of the checkpoint.
    has: Tensors,
    names: &'a Names,
    /// Prefix of every name but the unembedding's.
    root: &'a str,
    precision: Precision,
    /// Names of the tensors read so far.
    used: RefCell<BTreeSet<&'a str>>,
    /// Memory that packing one weight after another reuses.
    scratch: RefCell<Vec<f32>>,
}

/// A tensor that holds a range of the output rows of a linear map.
struct Part {
    name: String,
    n_rows: usize,
    order: Order,
}

impl<'a> Reader<'a> {
    pub(super) fn new(
        checkpoint: &'a Checkpoint,
        parsed: &'a Parsed,
        names: &'a Names,
        precision: Precision,
    ) -> Result<Reader<'a>> {
        let embed = |root: &str| format!("{root}{}{}", names.embed, names.weight);
        let fits = |root: &&&str| checkpoint.tensor(&embed(root)).is_ok();
        let Some(root) = names.roots.iter().find(fits) else {
            return Err(Error::MissingTensor {
                path: checkpoint.path().to_path_buf(),
                tensor: embed(names.roots[0]),
            });
        };
        Ok(Reader {
            checkpoint,
            config: &parsed.config,
            has: parsed.tensors,
            names,
            root,
            precision,
            used: RefCell::default(),
            scratch: RefCell::default(),
        })
    }

    /// Reads every weight. Refuses a tensor of a layer if the configuration has no place for it.
    pub(super) fn weights(&self) -> Result<Weights> {
        let config = self.config;
        let (embed_tensor, embed) = self.embedding(&self.path(self.names.embed, None))?;
        let weights = Weights {
            embed,
            positions: match config.positions {
                Positions::Learned => Some(self.learned_positions()?),
                Positions::Rotary { .. } => None,
            },
            blocks: (0..config.n_layers())
                .map(|layer| self.block(layer))
                .collect::<Result<_>>()?,
            final_norm: self.norm(self.names.final_norm, None, config.d_model)?,
            unembed: self.unembed(embed_tensor)?,
        };
        self.refuse_unread()?;
        Ok(weights)
    }

    /// The tensors that were read.
    pub(super) fn read(&self) -> Vec<Tensor<'a>> {
        let used = self.used.borrow();
        used.iter()
            .filter_map(|name| self.checkpoint.tensor(name).ok())
            .collect()
    }

    fn block(&self, layer: usize) -> Result<Block> {
        let (config, names) = (self.config, self.names);
        let (d_model, d_head) = (config.d_model, config.d_head);
        let norm = |name, width| self.norm(name, Some(layer), width);
        let head_norm = |name| config.has_qk_norm().then(|| norm(name, d_head)).transpose();
        let post_norm = |name| {
            config
                .has_post_norms()
                .then(|| norm(name, d_model))
                .transpose()
        };
        let linear = |parts: Vec<Part>, d_in, bias| self.linear(&parts, d_in, bias);
        let d_z = config.n_heads * d_head;
        let mlp_in = names
            .mlp_in
            .iter()
            .map(|name| self.part(name, layer, config.d_mlp));
        Ok(Block {
            attn_norm: norm(names.attn_norm, d_model)?,
            qkv: linear(self.qkv(layer), d_model, self.has.qkv_bias)?,
            q_norm: head_norm(names.q_norm)?,
            k_norm: head_norm(names.k_norm)?,
            attn_out: linear(
                vec![self.part(names.attn_out, layer, d_model)],
                d_z,
                self.has.attn_out_bias,
            )?,
            attn_post_norm: post_norm(names.attn_post_norm)?,
            mlp_norm: norm(names.mlp_norm, d_model)?,
            mlp_in: linear(mlp_in.collect(), d_model, self.has.mlp_bias)?,
            mlp_out: linear(
                vec![self.part(names.mlp_out, layer, d_model)],
                config.d_mlp,
                self.has.mlp_bias,
            )?,
            mlp_post_norm: post_norm(names.mlp_post_norm)?,
        })
    }

    fn part(&self, name: &str, layer: usize, n_rows: usize) -> Part {
        Part {
            name: self.path(name, Some(layer)),
            n_rows,
            order: if self.names.transposed {
                Order::Transposed
            } else {
                Order::AsIs
            },
        }
    }

    /// The one or three tensors of queries, keys and values.
    fn qkv(&self, layer: usize) -> Vec<Part> {
        let Config {
            n_heads,
            n_kv_heads,
            d_head,
            ..
        } = *self.config;
        let heads: &[usize] = match self.names.qkv {
            [_] => &[n_heads + 2 * n_kv_heads],
            _ => &[n_heads, n_kv_heads, n_kv_heads],
        };
        let parts = self.names.qkv.iter().zip(heads).enumerate();
        parts
            .map(|(i, (name, heads))| {
                let part = self.part(name, layer, heads * d_head);
                let order = match (self.names.queries_and_keys, i) {
                    (Heads::Pairs, 0 | 1) => Order::Pairs { d_head },
                    (Heads::Grouped, _) => Order::Grouped { n_heads, d_head },
                    _ => part.order,
                };
                Part { order, ..part }
            })
            .collect()
    }

    fn linear(&self, parts: &[Part], d_in: usize, bias: Presence) -> Result<Linear> {
        let mut weights = Vec::with_capacity(parts.len());
        for part in parts {
            let shape = match part.order {
                Order::Transposed => [d_in, part.n_rows],
                _ => [part.n_rows, d_in],
            };
            weights.push(Rows {
                tensor: self.tensor(&format!("{}{}", part.name, self.names.weight), &shape)?,
                n_rows: part.n_rows,
                order: part.order,
            });
        }
        Ok(Linear {
            weight: self.pack(&weights, d_in)?,
            bias: self.bias(parts, bias)?,
        })
    }

    fn pack(&self, rows: &[Rows], d_in: usize) -> Result<Weight> {
        rows::pack(rows, d_in, self.precision, &mut self.scratch.borrow_mut())
    }

    fn bias(&self, parts: &[Part], presence: Presence) -> Result<Option<Vec<f32>>> {
        let name = |part: &Part| format!("{}{}", part.name, self.names.bias);
        let present = match presence {
            Presence::Yes => true,
            Presence::No => false,
            // Either all parts have a bias or none; a part without its own is then a missing tensor.
            Presence::AsStored => parts.iter().any(|part| self.exists(&name(part))),
        };
        if !present {
            return Ok(None);
        }
        let mut biases = Vec::with_capacity(parts.len());
        for part in parts {
            biases.push(Rows {
                tensor: self.tensor(&name(part), &[part.n_rows])?,
                n_rows: part.n_rows,
                order: part.order,
            });
        }
        rows::bias(&biases).map(Some)
    }

    fn norm(&self, name: &str, layer: Option<usize>, width: usize) -> Result<Norm> {
        let path = self.path(name, layer);
        let weight = format!("{path}{}", self.names.weight);
        let mut weight = rows::vector(&self.tensor(&weight, &[width])?)?;
        for weight in &mut weight {
            *weight += self.names.norm_offset;
        }
        let bias = match self.config.norm {
            NormKind::Rms { .. } => None,
            NormKind::Layer { .. } => {
                let bias = format!("{path}{}", self.names.bias);
                Some(rows::vector(&self.tensor(&bias, &[width])?)?)
            }
        };
        Ok(Norm { weight, bias })
    }

    fn learned_positions(&self) -> Result<Matrix> {
        let (n_ctx, d_model) = (self.config.n_ctx, self.config.d_model);
        let name = format!(
            "{}{}",
            self.path(self.names.positions, None),
            self.names.weight
        );
        let tensor = self.tensor(&name, &[n_ctx, d_model])?;
        let mut positions = Matrix::zeros(n_ctx, d_model);
        tensor.read(0..n_ctx * d_model, positions.data_mut())?;
        tensor.check_finite(positions.data(), 0)?;
        tensor.evict();
        Ok(positions)
    }

    /// A weight with a row per token, `[d_vocab, d_model]`.
    fn embedding(&self, path: &str) -> Result<(Tensor<'a>, Weight)> {
        let (d_vocab, d_model) = (self.config.d_vocab, self.config.d_model);
        let name = format!("{path}{}", self.names.weight);
        let tensor = self.find(&name)?;
        // Tables are padded to a round number of rows; no token uses the rows past the vocabulary.
        if !matches!(tensor.shape(), &[rows, cols] if rows >= d_vocab && cols == d_model) {
            return Err(wrong_shape(&tensor, &[d_vocab, d_model]));
        }
        let rows = Rows {
            tensor,
            n_rows: d_vocab,
            order: Order::AsIs,
        };
        Ok((tensor, self.pack(&[rows], d_model)?))
    }

    fn unembed(&self, embed: Tensor) -> Result<Option<Linear>> {
        let exists = |name: &&&str| self.exists(&format!("{name}{}", self.names.weight));
        let found = self.names.unembed.iter().find(exists);
        let name = match (found, self.has.tied) {
            (None, Presence::Yes | Presence::AsStored) => return Ok(None),
            (None, Presence::No) => self.names.unembed[0],
            (Some(name), _) => name,
        };
        if self.has.tied != Presence::No {
            // A tied unembedding is often stored again. If it differs, it is used, as in transformers 5.
            let head = self.find(&format!("{name}{}", self.names.weight))?;
            if same_values(&head, &embed)? {
                return Ok(None);
            }
        }
        let (_, weight) = self.embedding(name)?;
        Ok(Some(Linear { weight, bias: None }))
    }

    fn path(&self, name: &str, layer: Option<usize>) -> String {
        let name = match layer {
            Some(layer) => name.replace("{}", &layer.to_string()),
            None => name.to_owned(),
        };
        format!("{}{name}", self.root)
    }

    fn exists(&self, name: &str) -> bool {
        self.checkpoint.tensor(name).is_ok()
    }

    fn find(&self, name: &str) -> Result<Tensor<'a>> {
        let tensor = self.checkpoint.tensor(name)?;
        self.used.borrow_mut().insert(tensor.name());
        Ok(tensor)
    }

    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Tensor<'a>> {
        let tensor = self.find(name)?;
        if tensor.shape() != shape {
            return Err(wrong_shape(&tensor, shape));
        }
        Ok(tensor)
    }

    /// A tensor of a layer that nobody read would have changed the maths.
    fn refuse_unread(&self) -> Result<()> {
        let used = self.used.borrow();
        let layers = format!("{}{}", self.root, self.names.layers);
        let unread = self
            .checkpoint
            .names()
            .find(|name| name.starts_with(&layers) && !used.contains(name) && !is_buffer(name));
        match unread {
            None => Ok(()),
            Some(name) => Err(Error::tensor(
                self.checkpoint.path(),
                name,
                "the model of this configuration has no such tensor",
            )),
        }
    }
}

fn wrong_shape(tensor: &Tensor, expected: &[usize]) -> Error {
    let found = tensor.shape();
    tensor.error(format!("its shape is {found:?} and should be {expected:?}"))
}

/// True if two tensors hold the same numbers.
fn same_values(a: &Tensor, b: &Tensor) -> Result<bool> {
    const AT_ONCE: usize = 1 << 16;
    if a.shape() != b.shape() {
        return Ok(false);
    }
    if let (Some(a_bytes), Some(b_bytes)) = (a.bytes(), b.bytes())
        && a.dtype() == b.dtype()
    {
        let shared = std::ptr::eq(a_bytes, b_bytes);
        return Ok(shared || a_bytes == b_bytes);
    }
    if a.dtype().is_quantised() || b.dtype().is_quantised() {
        return Ok(false);
    }
    let (mut left, mut right) = (vec![0.0; AT_ONCE], vec![0.0; AT_ONCE]);
    for start in (0..a.len()).step_by(AT_ONCE) {
        let range = start..a.len().min(start + AT_ONCE);
        let len = range.len();
        a.read(range.clone(), &mut left[..len])?;
        b.read(range, &mut right[..len])?;
        if left[..len] != right[..len] {
            return Ok(false);
        }
    }
    Ok(true)
}
