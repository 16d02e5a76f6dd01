"""Writes tests/golden/train/: three steps of training as the library that owns an objective does them.

    python tests/golden/make_train.py            # all of them, about 10 s
    python tests/golden/make_train.py saelens    # those whose names begin so

Every case is `CASE.json`, saescope's configuration, and `CASE.safetensors`: `x` `[3, tokens, d_in]` (and `target`),
the weights before (`before.w_enc` `[d_sae, d_in]`, ...) and after (`after.w_enc`, ...), `losses` `[3]`, and `dead`, the
features that count as dead from the start. Names are saescope's. docs/training.md says where saescope differs from the
libraries on purpose; the cases keep away from that.

Losses, gradients and optimisers are the libraries' own code. SAELens' and sparsify's trainers want models and corpora, so
the three lines around the loss (gradients, clipping or projection, Adam) are theirs, written again here.
"""

import json
import os
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

os.environ["SPARSIFY_DISABLE_TRITON"] = "1"

OUT = Path(__file__).parent / "train"
D_IN, D_OUT, D_SAE, TOKENS, STEPS, K = 8, 6, 24, 16, 3, 3
LR = 1e-3
DEAD = [5, 11, 17, 23]
ADAM = {"lr": LR, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}


def config(objective, **more) -> dict:
    """saescope's configuration, with everything off that a case does not turn on."""
    return {
        "d_sae": D_SAE,
        "objective": objective,
        "reconstruction": "squared_error",
        "batch_tokens": TOKENS,
        "steps": STEPS,
        "adam": ADAM,
        "lr_warmup_steps": 0,
        "lr_decay_steps": 0,
        "sparsity_warmup_steps": 0,
        "grad_clip": None,
        "input": "raw",
        "decoder": "free",
        "init": {"decoder_norm": 1.0, "tied": False, "b_dec": "zero", "subtract_b_dec": True},
        "dead": {"window_tokens": 1000000, "treatment": "none"},
        "transcoder": None,
        "products": "f32",
        "log_every": 1,
        "checkpoint_every": 0,
        "seed": 0,
        **more,
    }


def init(**values) -> dict:
    return {"decoder_norm": 1.0, "tied": False, "b_dec": "zero", "subtract_b_dec": True, **values}


def random(shape, seed, scale=1.0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale


def weights(unit: bool, d_out: int = D_IN, seed: int = 10) -> dict:
    """Weights of saescope's names; the encoder of dead features is short, so that they are never active."""
    w_enc = random((D_SAE, D_IN), seed, 0.4)
    w_dec = random((D_SAE, d_out), seed + 1, 0.4)
    if unit:
        w_dec /= w_dec.norm(dim=1, keepdim=True)
    b_enc = random((D_SAE,), seed + 2, 0.1)
    w_enc[DEAD] *= 0.05
    b_enc[DEAD] = 0.01 * b_enc[DEAD].abs()
    return {"w_enc": w_enc, "w_dec": w_dec, "b_enc": b_enc, "b_dec": random((d_out,), seed + 3, 0.1)}


def batches(seed: int = 1, d: int = D_IN) -> torch.Tensor:
    return random((STEPS, TOKENS, d), seed) + 0.3


def write(case: str, settings: dict, before: dict, after: dict, losses, dead, x, target=None) -> None:
    tensors = {"x": x, "losses": torch.tensor(losses), "dead": torch.tensor(dead, dtype=torch.int64)}
    if target is not None:
        tensors["target"] = target
    for when, parts in (("before", before), ("after", after)):
        assert parts.keys() == before.keys()
        tensors |= {f"{when}.{name}": value for name, value in parts.items()}
    tensors = {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}
    assert all(torch.isfinite(t).all() for t in tensors.values()), case
    moved = {name: float((after[name] - before[name]).abs().max()) for name in before}
    assert all(move > 0 for move in moved.values()), (case, moved)
    save_file(tensors, OUT / f"{case}.safetensors")
    (OUT / f"{case}.json").write_text(json.dumps(settings, indent=1) + "\n")
    print(f"{case:28} losses {['%.4f' % loss for loss in losses]}")


def wanted(case: str) -> bool:
    return not sys.argv[1:] or any(case.startswith(name) for name in sys.argv[1:])


# SAELens


def saelens_names(sae) -> dict:
    """saescope's name of every parameter, and whether it is the transpose."""
    names = {"W_enc": ("w_enc", True), "W_dec": ("w_dec", False), "b_enc": ("b_enc", False), "b_dec": ("b_dec", False)}
    names |= {"b_gate": ("b_enc", False), "r_mag": ("r_mag", False), "b_mag": ("b_mag", False)}
    names["threshold"] = ("threshold", False)
    return {name: names[name] for name, _ in sae.named_parameters()}


def saelens_read(sae) -> dict:
    parameters = dict(sae.named_parameters())
    read = {}
    for name, (ours, transposed) in saelens_names(sae).items():
        value = parameters[name].detach().clone()
        read[ours] = value.T.contiguous() if transposed else value
    return read


def saelens_case(case: str, sae, settings: dict, coefficients: dict, before: dict, dead=()) -> None:
    from sae_lens.saes.sae import TrainStepInput

    if not wanted(case):
        return
    parameters = dict(sae.named_parameters())
    for name, (ours, transposed) in saelens_names(sae).items():
        value = before[ours]
        parameters[name].data.copy_(value.T if transposed else value)
    mask = torch.zeros(D_SAE, dtype=torch.bool)
    mask[list(dead)] = True
    # As SAETrainer._train_step has it.
    optimiser = torch.optim.Adam(sae.parameters(), lr=LR, betas=(0.9, 0.999))
    x, losses, first = batches(), [], saelens_read(sae)
    for step in range(STEPS):
        output = sae.training_forward_pass(TrainStepInput(x[step], coefficients, mask, step, False))
        assert not len(dead) or not (output.feature_acts[:, list(dead)] > 0).any(), case
        output.loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        losses.append(output.loss.item())
    write(case, {**settings, "grad_clip": 1.0}, first, saelens_read(sae), losses, list(dead), x)


def saelens() -> None:
    from sae_lens.saes.batchtopk_sae import BatchTopKTrainingSAE, BatchTopKTrainingSAEConfig
    from sae_lens.saes.gated_sae import GatedTrainingSAE, GatedTrainingSAEConfig
    from sae_lens.saes.jumprelu_sae import JumpReLUTrainingSAE, JumpReLUTrainingSAEConfig
    from sae_lens.saes.matryoshka_batchtopk_sae import (
        MatryoshkaBatchTopKTrainingSAE,
        MatryoshkaBatchTopKTrainingSAEConfig,
    )
    from sae_lens.saes.standard_sae import StandardTrainingSAE, StandardTrainingSAEConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig

    shape = {"d_in": D_IN, "d_sae": D_SAE}
    plain = weights(unit=False)
    l1 = config({"l1": {"coefficient": 0.3, "decoder_norm": True}})
    sae = StandardTrainingSAE(StandardTrainingSAEConfig(**shape, l1_coefficient=0.3))
    saelens_case("saelens_standard", sae, l1, {"l1": 0.3}, plain)

    aux = {"k": D_IN // 2, "coefficient": 1.0, "form": "saelens"}
    topk = {"k": K, "rescale_acts_by_decoder_norm": False}
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(**shape, **topk))
    saelens_case("saelens_topk", sae, config({"top_k": {"k": K, "aux": aux}}), {}, plain, DEAD)
    sae = TopKTrainingSAE(TopKTrainingSAEConfig(**shape, **topk))
    saelens_case("saelens_topk_few_dead", sae, config({"top_k": {"k": K, "aux": aux}}), {}, plain, DEAD[:2])
    sae = BatchTopKTrainingSAE(BatchTopKTrainingSAEConfig(**shape, **topk))
    saelens_case("saelens_batchtopk", sae, config({"batch_top_k": {"k": K, "aux": aux}}), {}, plain, DEAD)
    prefixes = [4, 12, 24]
    sae = MatryoshkaBatchTopKTrainingSAE(
        MatryoshkaBatchTopKTrainingSAEConfig(**shape, **topk, matryoshka_widths=prefixes)
    )
    objective = {"matryoshka": {"k": K, "prefixes": prefixes, "aux": aux}}
    saelens_case("saelens_matryoshka", sae, config(objective), {}, plain, DEAD)

    thresholds = {**plain, "threshold": random((D_SAE,), 20).abs() * 0.3 + 0.1}
    thresholds["threshold"][DEAD] = 2.0
    for mode, penalty, pull in (
        ("step", {"step": {"coefficient": 0.2}}, None),
        ("tanh", {"tanh": {"coefficient": 0.2, "scale": 4.0}}, 3e-3),
    ):
        jump = JumpReLUTrainingSAEConfig(
            **shape,
            jumprelu_bandwidth=0.4,
            jumprelu_init_threshold=0.1,
            jumprelu_sparsity_loss_mode=mode,
            l0_coefficient=0.2,
            pre_act_loss_coefficient=pull,
        )
        objective = {"penalty": penalty, "bandwidth": 0.4, "threshold": 0.1, "pre_activation": pull or 0.0}
        settings = config({"jump_relu": objective})
        dead = DEAD if pull else []
        saelens_case(f"saelens_jumprelu_{mode}", JumpReLUTrainingSAE(jump), settings, {"l0": 0.2}, thresholds, dead)

    gated = {**plain, "r_mag": random((D_SAE,), 30, 0.1), "b_mag": random((D_SAE,), 31, 0.1)}
    objective = {"gated": {"coefficient": 0.3, "aux_trains_decoder": True}}
    sae = GatedTrainingSAE(GatedTrainingSAEConfig(**shape, l1_coefficient=0.3))
    saelens_case("saelens_gated", sae, config(objective), {"l1": 0.3}, gated)


# sparsify


def sparsify_case(case: str, skip: bool, transcode: bool, dead) -> None:
    from sparsify.config import SparseCoderConfig
    from sparsify.fused_encoder import EncoderOutput
    from sparsify.sparse_coder import SparseCoder

    if not wanted(case):
        return
    # Its transcoders write as wide as they read.
    before = weights(unit=True)
    settings = SparseCoderConfig(num_latents=D_SAE, k=K, skip_connection=skip, transcode=transcode)
    coder = SparseCoder(D_IN, settings)
    parts = {
        "w_enc": coder.encoder.weight,
        "b_enc": coder.encoder.bias,
        "w_dec": coder.W_dec,
        "b_dec": coder.b_dec,
    }
    if skip:
        before["w_skip"] = random((D_IN * D_IN,), 40, 0.1)
        parts["w_skip"] = coder.W_skip
    for name, parameter in parts.items():
        parameter.data.copy_(before[name].reshape(parameter.shape))

    def encode(x):
        # FusedEncoder.backward drops the gradient of `pre_acts`, so that the auxiliary loss would train the
        # decoder alone; autograd keeps it.
        x = x if transcode else x - coder.b_dec
        pre = torch.relu(torch.nn.functional.linear(x, coder.encoder.weight, coder.encoder.bias))
        return EncoderOutput(*torch.topk(pre, K, dim=-1, sorted=False), pre)

    if len(dead):
        coder.encode = encode
    mask = torch.zeros(D_SAE, dtype=torch.bool)
    mask[list(dead)] = True
    optimiser = torch.optim.Adam(coder.parameters(), lr=LR)
    x, target = batches(), batches(2) if transcode else None
    losses, alpha = [], 0.25
    # As Trainer.fit has it: unit norm, loss, projection, step.
    for step in range(STEPS):
        coder.set_decoder_norm_to_unit_norm()
        y = None if target is None else target[step]
        output = coder(x[step], y, dead_mask=mask if len(dead) else None)
        assert not set(output.latent_indices[output.latent_acts > 0].tolist()) & set(dead), case
        loss = output.fvu + alpha * output.auxk_loss
        loss.backward()
        coder.remove_gradient_parallel_to_decoder_directions()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(loss.item())
    coder.set_decoder_norm_to_unit_norm()
    after = {name: parameter.detach().reshape(before[name].shape) for name, parameter in parts.items()}
    aux = {"k": D_IN // 2, "coefficient": alpha, "form": "sparsify"}
    ours = config(
        {"top_k": {"k": K, "aux": aux}},
        reconstruction="fvu",
        decoder="unit",
        init=init(subtract_b_dec=not transcode),
        transcoder={"skip": skip} if transcode else None,
    )
    write(case, ours, before, after, losses, list(dead), x, target)


def sparsify() -> None:
    sparsify_case("sparsify_fused", skip=False, transcode=False, dead=[])
    sparsify_case("sparsify_topk", skip=False, transcode=False, dead=DEAD)
    sparsify_case("sparsify_topk_few_dead", skip=False, transcode=False, dead=DEAD[:3])
    sparsify_case("sparsify_transcoder", skip=False, transcode=True, dead=DEAD)
    sparsify_case("sparsify_skip", skip=True, transcode=True, dead=DEAD)


# dictionary_learning


def learning_parts(ae) -> dict:
    """saescope's names of its parameters, each with what brings it to saescope's layout."""
    same, transposed = (lambda t: t), (lambda t: t.T)
    parts = {}
    for name, parameter in ae.named_parameters():
        ours, layout = {
            "encoder.weight": ("w_enc", same),
            "encoder.bias": ("b_enc", same),
            "decoder.weight": ("w_dec", transposed),
            "bias": ("b_dec", same),
            "b_dec": ("b_dec", same),
            "decoder_bias": ("b_dec", same),
            "W_enc": ("w_enc", transposed),
            "W_dec": ("w_dec", same),
            "b_enc": ("b_enc", same),
            "gate_bias": ("b_enc", same),
            "mag_bias": ("b_mag", same),
            "r_mag": ("r_mag", same),
            "threshold": ("threshold", same),
        }[name]
        parts[ours] = (parameter, layout)
    return parts


def learning_case(case: str, trainer, settings: dict, before: dict, dead=(), seed: int = 1) -> None:
    if not wanted(case):
        return
    parts = learning_parts(trainer.ae)
    for name, (parameter, layout) in parts.items():
        layout(parameter.data).copy_(before[name])
    if len(dead):
        trainer.num_tokens_since_fired[list(dead)] = 20_000_000
    x, losses = batches(seed), []
    loss_of = trainer.loss

    def kept(*arguments, **named):
        loss = loss_of(*arguments, **named)
        losses.append(loss.item())
        return loss

    trainer.loss = kept
    # Step 0 of the TopK family sets the decoder's bias to the median; these begin after.
    for step in range(STEPS):
        trainer.update(step + 1, x[step])
    after = {name: layout(parameter.data) for name, (parameter, layout) in parts.items()}
    before = {name: before[name] for name in parts}
    write(case, settings, before, after, losses, list(dead), x)


def dictionary_learning() -> None:
    from dictionary_learning.trainers.batch_top_k import BatchTopKTrainer
    from dictionary_learning.trainers.gdm import GatedSAETrainer
    from dictionary_learning.trainers.jumprelu import JumpReluTrainer
    from dictionary_learning.trainers.matryoshka_batch_top_k import MatryoshkaBatchTopKTrainer
    from dictionary_learning.trainers.standard import StandardTrainer, StandardTrainerAprilUpdate
    from dictionary_learning.trainers.top_k import TopKTrainer

    shape = {
        "steps": 100000,
        "activation_dim": D_IN,
        "dict_size": D_SAE,
        "layer": 0,
        "lm_name": "none",
        "lr": LR,
        "warmup_steps": 0,
        "device": "cpu",
    }
    unit, free = weights(unit=True), weights(unit=False)
    standard = {"l1_penalty": 0.3, "sparsity_warmup_steps": None}
    settings = config({"l1": {"coefficient": 0.3, "decoder_norm": False}}, decoder="unit")
    learning_case("dictionary_learning_standard", StandardTrainer(**shape, **standard), settings, unit)
    settings = config({"l1": {"coefficient": 0.3, "decoder_norm": True}}, grad_clip=1.0)
    trainer = StandardTrainerAprilUpdate(**shape, **standard)
    learning_case("dictionary_learning_april", trainer, settings, free)

    aux = {"k": D_IN // 2, "coefficient": 0.5, "form": "paper"}
    top = {"k": K, "auxk_alpha": 0.5}
    clipped = {"decoder": "unit", "grad_clip": 1.0}
    settings = config({"top_k": {"k": K, "aux": aux}}, **clipped)
    learning_case("dictionary_learning_topk", TopKTrainer(**shape, **top), settings, unit, DEAD)
    settings = config({"batch_top_k": {"k": K, "aux": aux}}, **clipped)
    learning_case("dictionary_learning_batchtopk", BatchTopKTrainer(**shape, **top), settings, unit, DEAD)
    # It takes the mean over prefixes of weighted errors; with these weights that is the sum.
    groups = {"group_fractions": [0.25, 0.25, 0.5], "group_weights": [3.0, 3.0, 3.0]}
    settings = config({"matryoshka": {"k": K, "prefixes": [6, 12, 24], "aux": aux}}, **clipped)
    trainer = MatryoshkaBatchTopKTrainer(**shape, **top, **groups)
    learning_case("dictionary_learning_matryoshka", trainer, settings, unit, DEAD)

    gated = {**unit, "r_mag": random((D_SAE,), 30, 0.1), "b_mag": random((D_SAE,), 31, 0.1)}
    objective = {"gated": {"coefficient": 0.3, "aux_trains_decoder": False}}
    settings = config(objective, decoder="unit", adam={**ADAM, "beta1": 0.0})
    trainer = GatedSAETrainer(**shape, **standard)
    learning_case("dictionary_learning_gated", trainer, settings, gated)
    jump_relu(JumpReluTrainer, shape, unit)


def jump_relu(trainer_class, shape: dict, unit: dict) -> None:
    """Its step function sees activations, not pre-activations, so that the half of the kernel below the
    threshold is lost: the batches are such that nothing lies there."""
    bandwidth, case = 0.008, "dictionary_learning_jumprelu"
    if not wanted(case):
        return
    thresholds = {**unit, "threshold": random((D_SAE,), 20).abs() * 0.3 + 0.1}
    penalty = {"target": {"coefficient": 0.5, "l0": 4.0}}
    objective = {"penalty": penalty, "bandwidth": bandwidth, "threshold": 0.1, "pre_activation": 0.0}
    settings = config(
        {"jump_relu": objective},
        decoder="unit",
        grad_clip=1.0,
        adam={**ADAM, "beta1": 0.0},
        init=init(subtract_b_dec=False),
    )
    for seed in range(100, 1000):
        trainer = trainer_class(
            **shape, bandwidth=bandwidth, sparsity_penalty=0.5, sparsity_warmup_steps=None, target_l0=4.0
        )
        for name, (parameter, layout) in learning_parts(trainer.ae).items():
            layout(parameter.data).copy_(thresholds[name])
        below = above = 0
        for step, x in enumerate(batches(seed)):
            with torch.no_grad():
                off = x @ trainer.ae.W_enc + trainer.ae.b_enc - trainer.ae.threshold
            below += int(((off > -bandwidth / 2) & (off <= 0)).sum())
            above += int(((off > 0) & (off < bandwidth / 2)).sum())
            trainer.update(step + 1, x)
        if below == 0 and above >= 2:
            break
    else:
        raise SystemExit(f"{case}: no seed fits")
    trainer = trainer_class(
        **shape, bandwidth=bandwidth, sparsity_penalty=0.5, sparsity_warmup_steps=None, target_l0=4.0
    )
    learning_case(case, trainer, settings, thresholds, seed=seed)


if __name__ == "__main__":
    OUT.mkdir(exist_ok=True)
    torch.set_num_threads(1)
    saelens()
    sparsify()
    dictionary_learning()
