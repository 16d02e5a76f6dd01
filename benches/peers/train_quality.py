"""Explained variance of autoencoders that SAELens and saescope train on the same activations.

Both read the batches of one store (`saescope capture --store`) in its order, with the same width, k, learning rate,
batch and number of tokens, and are measured on the same held-out rows by the same numpy formula:
1 - sum |x - y|^2 / sum |x - mean x|^2.

    python train_quality.py STORE --d-sae 4608 --k 32 --tokens 409600 --seeds 0 1 2 --saescope target/release/saescope

Needs: pip install sae-lens safetensors torch numpy. Two threads, CPU.
"""
import argparse, json, pathlib, subprocess, tempfile, time, warnings

import numpy as np
import torch
from safetensors.torch import load_file

warnings.filterwarnings("ignore")
torch.set_num_threads(2)


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


def measure(encode_decode, held_out):
    with torch.no_grad():
        y, l0 = encode_decode(held_out)
    x, y = held_out.double().numpy(), y.double().numpy()
    ev = 1 - ((x - y) ** 2).sum() / ((x - x.mean(0)) ** 2).sum()
    return ev, l0


def saelens(train, args, seed):
    from sae_lens import SAETrainer  # noqa: F401  (fails early when SAELens is missing)
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.saes.topk_sae import TopKTrainingSAE, TopKTrainingSAEConfig
    from sae_lens.training.sae_trainer import SAETrainer

    torch.manual_seed(seed)
    config = TopKTrainingSAEConfig(
        d_in=train.shape[1], d_sae=args.d_sae, k=args.k, device="cpu", dtype="float32",
        normalize_activations="expected_average_only_in",
    )
    sae = TopKTrainingSAE(config)
    steps = args.tokens // args.batch
    trainer_config = SAETrainerConfig(
        total_training_samples=steps * args.batch, train_batch_size_samples=args.batch, lr=args.lr,
        lr_warm_up_steps=args.warmup, lr_decay_steps=args.decay, lr_end=0.0,
        dead_feature_window=max(args.dead_tokens // args.batch, 1), n_batches_for_norm_estimate=1,
        logger=LoggingConfig(log_to_wandb=False),
    )

    def batches():
        while True:  # the first batch serves to estimate the norm, and comes again
            yield train[: args.batch]
            for start in range(0, steps * args.batch, args.batch):
                yield train[start : start + args.batch]

    start = time.perf_counter()
    sae = SAETrainer(trainer_config, sae, batches()).fit()
    seconds = time.perf_counter() - start

    def encode_decode(x):
        f = sae.encode(x)
        f = f.to_dense() if f.is_sparse else f
        return sae.decode(f), (f > 0).sum(-1).float().mean().item()

    return sae, encode_decode, seconds


def saescope(args, seed, folder):
    run = pathlib.Path(folder) / f"seed{seed}"
    made = json.loads((args.store / "store.json").read_text())["made"]
    command = [
        args.saescope, "train", made["model"], "--store", str(args.store), "--recipe", "topk", "--d-sae", str(args.d_sae),
        "--k", str(args.k), "--lr", str(args.lr), "--batch", str(args.batch), "--tokens", str(args.tokens),
        "--seed", str(seed), "--site", made["site"], "-o", str(run),
        "--eval-tokens", "0",  # rows held out of the store would be missing from its order
        *args.extra,
    ]
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    from sae_lens import SAE

    sae = SAE.load_from_disk(str(run / "sae"))  # in the layout of SAELens, so its own code measures it

    def encode_decode(x):
        f = sae.encode(x)
        f = f.to_dense() if f.is_sparse else f
        return sae.decode(f), (f > 0).sum(-1).float().mean().item()

    return encode_decode, seconds


def main():
    parser = argparse.ArgumentParser()
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
    parser.add_argument("--saescope", default="target/release/saescope")
    parser.add_argument("--extra", nargs="*", default=[], help="more arguments for saescope train")
    args = parser.parse_args()
    x = rows(args.store, args.tokens + args.held_out)
    assert len(x) == args.tokens + args.held_out, f"the store holds only {len(x)} rows"
    train, held_out = x[: args.tokens], x[args.tokens :]
    print(f"{args.store.name}: {x.shape[1]} -> {args.d_sae}, k {args.k}, {args.tokens} tokens, batch {args.batch}")
    print("seed  SAELens EV  L0    s      saescope EV  L0    s")
    with tempfile.TemporaryDirectory() as folder:
        for seed in args.seeds:
            _, theirs, their_s = saelens(train, args, seed)
            their_ev, their_l0 = measure(theirs, held_out)
            ours, our_s = saescope(args, seed, folder)
            our_ev, our_l0 = measure(ours, held_out)
            print(f"{seed:4}  {their_ev:10.4f}  {their_l0:4.1f}  {their_s:5.0f}  {our_ev:11.4f}  {our_l0:4.1f}  {our_s:5.0f}", flush=True)


main()
