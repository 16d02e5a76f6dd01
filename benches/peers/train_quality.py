"""Explained variance of autoencoders that SAELens and saescope train on the same activations.

Both read the batches of one store (`saescope capture --store`) in its order, with the same width, k, learning rate,
warm-up, decay, batch, dead-feature window and number of tokens, and are measured on the same held-out rows by the same
numpy formula, 1 - sum |x - y|^2 / sum |x - mean x|^2: of the rows as they are, and of the rows brought to mean 0 and
standard deviation 1 each, where no single long row decides.

    python train_quality.py STORE --d-sae 2304 --k 32 --tokens 204800 --seeds 0 1 2 --saescope target/release/saescope

`--normalise` says what happens to the inputs:
  token       every token to mean 0 and standard deviation 1 before either library: `input=layer_norm`, and rows so
              prepared for SAELens, which refuses its own layer norm together with the auxiliary loss
  layer_norm  SAELens' own `layer_norm` (its loss is of the activations as they are), neither with an auxiliary loss
  scale       one constant: SAELens' `expected_average_only_in`, `input=scale`

Needs: pip install sae-lens safetensors torch numpy. Two threads, CPU.
"""
import argparse, json, os, pathlib, subprocess, tempfile, time, warnings

import numpy as np
import torch
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))


def rows(store, n):
    """The first `n` rows of a store as f32, in its order."""
    manifest = json.loads((store / "store.json").read_text())
    parts, have = [], 0
    for shard in manifest["shards"]:
        part = load_file(store / shard["file"])["x"].float()
        parts.append(part)
        have += len(part)
        if have >= n:
            break
    return torch.cat(parts)[:n]


def statistics(x):
    """What brings every row to mean 0 and standard deviation 1, as SAELens has it."""
    mean = x.mean(-1, keepdim=True)
    return mean, (x - mean).std(-1, keepdim=True) + 1e-5


def explained(x, y):
    x, y = x.double().numpy(), y.double().numpy()
    return 1 - ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()


class Measured:
    """An autoencoder on held-out rows: explained variance of either kind, L0 and features that are never active."""

    def __init__(self, sae, x, prepared):
        mean, deviation = statistics(x)
        with torch.no_grad():
            f = sae.encode((x - mean) / deviation if prepared else x)
            f = f.to_dense() if f.is_sparse else f
            y = sae.decode(f)
        if prepared:
            y = y * deviation + mean
        self.raw = explained(x, y)
        self.tokens = explained((x - mean) / deviation, (y - mean) / deviation)
        self.l0 = (f > 0).sum(-1).float().mean().item()
        self.dead = (f > 0).sum(0).eq(0).float().mean().item()

    def __str__(self):
        return f"{self.tokens:9.4f}  {self.raw:9.4f}  {self.l0:4.1f}  {100 * self.dead:4.1f}%"


def saelens(train, args, seed):
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(seed)
    config = TopKTrainingSAEConfig(
        d_in=train.shape[1], d_sae=args.d_sae, k=args.k, device="cpu", dtype="float32",
        normalize_activations={"token": "none", "layer_norm": "layer_norm", "scale": "expected_average_only_in"}[args.normalise],
    )
    sae = TopKTrainingSAE(config)
    steps = args.tokens // args.batch
    # With its own layer norm SAELens raises as soon as a feature is dead, since its auxiliary loss does not know of it.
    window = 10**9 if args.normalise == "layer_norm" else max(args.dead_tokens // args.batch, 1)
    trainer_config = SAETrainerConfig(
        total_training_samples=steps * args.batch, train_batch_size_samples=args.batch, lr=args.lr,
        lr_warm_up_steps=args.warmup, lr_decay_steps=args.decay, lr_end=0.0,
        dead_feature_window=window, n_batches_for_norm_estimate=1, logger=LoggingConfig(log_to_wandb=False),
    )

    def batches():
        if args.normalise == "scale":
            yield train[: args.batch]  # serves to estimate the norm, and comes again
        for start in range(0, steps * args.batch, args.batch):
            batch = train[start : start + args.batch]
            if args.normalise == "token":
                mean, deviation = statistics(batch)
                batch = (batch - mean) / deviation
            yield batch

    start = time.perf_counter()
    sae = SAETrainer(trainer_config, sae, batches()).fit()
    return sae, time.perf_counter() - start


def saescope(args, seed, folder):
    from sae_lens import SAE

    run = pathlib.Path(folder) / f"seed{seed}"
    made = json.loads((args.store / "store.json").read_text())["made"]
    fields = {
        "lr_warmup_steps": args.warmup, "lr_decay_steps": args.decay, "dead.window_tokens": args.dead_tokens,
        "input": "scale" if args.normalise == "scale" else "layer_norm",
    }
    if args.normalise == "layer_norm":
        fields["objective.top_k.aux"] = "null"
    command = [
        args.saescope, "train", made["model"], "--store", str(args.store), "--recipe", "topk", "--d-sae", str(args.d_sae),
        "--k", str(args.k), "--lr", str(args.lr), "--batch", str(args.batch), "--tokens", str(args.tokens),
        "--seed", str(seed), "--site", made["site"], "--checkpoint-every", "0", "-o", str(run),
        "--eval-tokens", "0",  # rows held out of the store would be missing from its order
        *(word for name, value in fields.items() for word in ("--set", f"{name}={value}")), *args.extra,
    ]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    seconds = time.perf_counter() - start
    return SAE.load_from_disk(str(run / "sae")), seconds  # in the layout of SAELens, so its own code measures it


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=pathlib.Path)
    parser.add_argument("--d-sae", type=int, default=4608)
    parser.add_argument("--k", type=int, default=32)
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=409_600)
    parser.add_argument("--held-out", type=int, default=16_384)
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--decay", type=int, default=20)
    parser.add_argument("--dead-tokens", type=int, default=102_400)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--normalise", choices=["token", "layer_norm", "scale"], default="token")
    parser.add_argument("--saescope", default="target/release/saescope")
    parser.add_argument("--extra", nargs=argparse.REMAINDER, default=[], help="more arguments for saescope train")
    args = parser.parse_args()
    x = rows(args.store, args.tokens + args.held_out)
    assert len(x) == args.tokens + args.held_out, f"the store holds only {len(x)} rows"
    train, held_out = x[: args.tokens], x[args.tokens :]
    print(f"{args.store.name}: {x.shape[1]} -> {args.d_sae}, k {args.k}, {args.tokens} tokens, batch {args.batch}, rate {args.lr},")
    print(f"warm-up {args.warmup}, decay {args.decay}, normalised by {args.normalise}; on {args.held_out} held-out rows")
    print("                EV of normalised rows, of rows as they are, L0, dead, seconds")
    prepared = args.normalise == "token"
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            sae, seconds = saelens(train, args, seed)
            print(f"seed {seed} SAELens  {Measured(sae, held_out, prepared)}  {seconds:5.0f}", flush=True)
            sae, seconds = saescope(args, seed, folder)
            print(f"seed {seed} saescope {Measured(sae, held_out, False)}  {seconds:5.0f}", flush=True)


main()
