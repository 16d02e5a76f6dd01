//! Shards whose rows hold their own number, so that orders can be compared.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tempfile::TempDir;

use std::ops::ControlFlow::{Break, Continue};

use super::*;
use crate::activations::{Batch, Batches as _};
use crate::error::{Error, Result};
use crate::site::Site;
use saescope_kernels::Matrix;

fn origin() -> ShardsOrigin {
    ShardsOrigin {
        model: "a model".to_owned(),
        site: Site::ResidPost(3),
        out_site: None,
        corpus: "a corpus".to_owned(),
        context: 128,
        skip_first: true,
        prepend_bos: Some(true),
    }
}

/// Batches whose rows hold their own number, twice in `x` and three times in `target`.
fn batches(targets: bool) -> impl Iterator<Item = Result<Batch>> {
    (0..).map(move |batch| {
        let row = |width| Matrix::from_fn(100, width, move |row, _| (batch * 100 + row) as f32);
        Ok(Batch {
            x: row(2),
            target: targets.then(|| row(3)),
        })
    })
}

fn config(tokens: u64) -> ShardsConfig {
    ShardsConfig {
        dtype: ShardDtype::F32,
        tokens,
        // Eight bytes a row: shards of a thousand.
        shard_bytes: 8_000,
        seed: 11,
    }
}

fn make(config: &ShardsConfig, targets: bool) -> (TempDir, Shards) {
    make_in(TempDir::new().unwrap(), config, targets)
}

fn make_in(folder: TempDir, config: &ShardsConfig, targets: bool) -> (TempDir, Shards) {
    let path = folder.path().join("shards");
    let written = write(&path, config, origin(), &mut batches(targets), &mut |_| {
        Continue(())
    });
    let manifest = written.unwrap().unwrap();
    let shards = Shards::open(&path).unwrap();
    assert_eq!(shards.manifest(), &manifest);
    (folder, shards)
}

/// The numbers of the rows in the order of the shards.
fn order(shards: &Shards, rows: usize) -> Vec<usize> {
    let batch = shards.batches(rows).unwrap().next().unwrap().unwrap();
    let rows = (0..rows).map(|row| batch.x.row(row)[0] as usize);
    rows.collect()
}

#[test]
fn every_row_occurs_once_with_its_target() {
    let (_folder, shards) = make(&config(4_321), true);
    assert_eq!(shards.manifest().shards.len(), 11);
    let batches: Result<Vec<Batch>> = shards.batches(100).unwrap().take(44).collect();
    let mut found = Vec::new();
    for batch in batches.unwrap() {
        let target = batch.target.unwrap();
        for row in 0..100 {
            let number = batch.x.row(row)[0];
            assert_eq!(batch.x.row(row), [number; 2]);
            assert_eq!(target.row(row), [number; 3]);
            found.push(number as usize);
        }
    }
    found.truncate(4_321);
    found.sort_unstable();
    assert!(found.into_iter().eq(0..4_321));
}

/// Chi-square of an order of 10,000 rows against a random one, over the numbers of rows that went from
/// each tenth to each tenth. With 81 degrees of freedom a random order exceeds 131 once in 2,500.
fn chi_square_of_tenths(order: &[usize]) -> f64 {
    let mut counts = [[0.0_f64; 10]; 10];
    for (place, row) in order.iter().enumerate() {
        counts[place / 1000][row / 1000] += 1.0;
    }
    let cells = counts.iter().flatten();
    cells.map(|count| (count - 100.0).powi(2) / 100.0).sum()
}

/// Successive rows whose numbers differ by at most ten; a random order has twenty, plus or minus four.
fn neighbours(order: &[usize]) -> usize {
    let pairs = order.windows(2);
    pairs.filter(|pair| pair[0].abs_diff(pair[1]) <= 10).count()
}

#[test]
fn a_row_can_land_anywhere_in_the_shards() {
    let (_folder, shards) = make(&config(10_000), false);
    assert_eq!(shards.manifest().shards.len(), 10);
    let order = order(&shards, 10_000);
    let chi2 = chi_square_of_tenths(&order);
    assert!((40.0..131.0).contains(&chi2), "{chi2}");
    let near = neighbours(&order);
    assert!((3..45).contains(&near), "{near}");
    // A shuffle within shards alone fails both tests.
    let mut local = Vec::new();
    for (shard, rows) in (0..10_000).collect::<Vec<usize>>().chunks(1000).enumerate() {
        let mut rows = rows.to_vec();
        crate::shuffle::shuffle(&mut rows, &mut crate::shuffle::random(1, shard as u64));
        local.extend(rows);
    }
    assert!(chi_square_of_tenths(&local) > 10_000.0);
    assert!(neighbours(&local) > 100);
}

#[test]
fn all_orders_of_a_small_set_of_shards_are_equally_likely() {
    const DRAWS: u64 = 1_200;
    let mut counts = BTreeMap::new();
    for seed in 0..DRAWS {
        // Four rows in two shards.
        let config = ShardsConfig {
            shard_bytes: 16,
            seed,
            ..config(4)
        };
        // Thousands of small files take a disk a minute, and memory a second.
        let folder = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
        let (_folder, shards) = make_in(folder.unwrap(), &config, false);
        assert_eq!(shards.manifest().shards.len(), 2);
        *counts.entry(order(&shards, 4)).or_insert(0.0) += 1.0;
    }
    assert_eq!(counts.len(), 24);
    let expected = DRAWS as f64 / 24.0;
    let cells = counts.values();
    let chi2: f64 = cells
        .map(|count: &f64| (count - expected).powi(2) / expected)
        .sum();
    // 23 degrees of freedom: above 49.7 once in a thousand.
    assert!(chi2 < 49.7, "{chi2}");
}

#[test]
fn the_same_seed_makes_the_same_bytes() {
    let bytes = |seed| {
        let (_folder, shards) = make(
            &ShardsConfig {
                seed,
                ..config(2_500)
            },
            true,
        );
        let files = shards.manifest().shards.iter();
        let files = files.map(|shard| std::fs::read(shards.folder().join(&shard.file)).unwrap());
        files.collect::<Vec<_>>()
    };
    assert!(bytes(1) == bytes(1));
    assert!(bytes(1) != bytes(2));
}

#[test]
fn a_reader_seeks_any_batch() {
    let (_folder, shards) = make(&config(2_345), true);
    let all: Result<Vec<Batch>> = shards.batches(70).unwrap().take(120).collect();
    let all = all.unwrap();
    for at in [0, 14, 33, 34, 67, 118] {
        let mut reader = shards.batches(70).unwrap();
        reader.seek(at as u64);
        let sought: Result<Vec<Batch>> = reader.take(2).collect();
        assert!(sought.unwrap() == all[at..at + 2], "batch {at}");
    }
}

#[test]
fn held_out_rows_are_in_no_batch_of_the_rest_in_any_epoch() {
    let (_folder, shards) = make(&config(2_345), true);
    // The border lies within a shard.
    let (rest, held) = shards.split_held_out(700).unwrap();
    assert_eq!((rest.tokens(), held.tokens()), (1_645, 700));
    let whole = order(&shards, 2_345);
    assert_eq!(order(&held, 700), whole[1_645..]);
    // Three epochs: 47 batches of 35 each.
    let batches: Result<Vec<Batch>> = rest.batches(35).unwrap().take(3 * 47).collect();
    let batches = batches.unwrap();
    for epoch in batches.chunks(47) {
        let rows = epoch
            .iter()
            .flat_map(|batch| (0..35).map(|row| batch.x.row(row)[0] as usize));
        let mut found: Vec<usize> = rows.collect();
        found.sort_unstable();
        let mut expected = whole[..1_645].to_vec();
        expected.sort_unstable();
        assert!(found == expected);
    }
    let mut reader = rest.batches(35).unwrap();
    reader.seek(100);
    assert!(reader.next().unwrap().unwrap() == batches[100]);
    for tokens in [0, 2_345, 3_000] {
        let refused = shards.split_held_out(tokens).err();
        assert!(matches!(refused, Some(Error::Argument(_))), "{tokens}");
    }
}

#[test]
fn numbers_are_rounded_to_the_nearest_and_too_large_ones_are_refused() {
    let numbers = [0.1_f32, -3.3e-3, 1234.5678, 0.0];
    let batch = |x: f32| {
        let mut row = numbers.to_vec();
        row[3] = x;
        Ok(Batch {
            x: Matrix::from_vec(1, 4, row),
            target: None,
        })
    };
    for (dtype, bits) in [
        (ShardDtype::Bf16, 8),
        (ShardDtype::F16, 11),
        (ShardDtype::F32, 24),
    ] {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("s");
        let config = ShardsConfig { dtype, ..config(1) };
        let mut one = std::iter::once(batch(-7.0));
        write(&path, &config, origin(), &mut one, &mut |_| Continue(())).unwrap();
        let shards = Shards::open(&path).unwrap();
        let read = shards.batches(1).unwrap().next().unwrap().unwrap();
        for (found, expected) in read.x.row(0).iter().zip(numbers).take(3) {
            let error = (found - expected).abs() / expected.abs();
            assert!(error <= 0.5_f32.powi(bits), "{dtype:?}: {found} {expected}");
        }
        assert_eq!(read.x.row(0)[3], -7.0);
        let other = folder.path().join("t");
        let mut large = std::iter::once(batch(70_000.0));
        let written = write(&other, &config, origin(), &mut large, &mut |_| Continue(()));
        assert_eq!(written.is_err(), dtype == ShardDtype::F16);
        assert_eq!(other.exists(), dtype != ShardDtype::F16);
    }
}

#[test]
fn a_folder_of_shards_is_complete_or_absent() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("shards");
    let few = &mut batches(false).take(3);
    let error = write(&path, &config(1_000), origin(), few, &mut |_| Continue(())).unwrap_err();
    assert!(
        error.to_string().contains("only 300 of the 1000"),
        "{error}"
    );
    let failing = &mut batches(false)
        .take(3)
        .chain(std::iter::once(Err(Error::Argument("stop".to_owned()))));
    assert!(
        write(&path, &config(1_000), origin(), failing, &mut |_| Continue(
            ()
        ))
        .is_err()
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    // The remains of a process that was killed.
    std::fs::create_dir(folder.path().join(".shards.partial")).unwrap();
    std::fs::write(folder.path().join(".shards.partial/bucket-00077"), "x").unwrap();
    std::fs::create_dir(&path).unwrap();
    write(
        &path,
        &config(1_000),
        origin(),
        &mut batches(false),
        &mut |_| Continue(()),
    )
    .unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["shard-00000.safetensors", "shards.json"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    let again = write(
        &path,
        &config(1_000),
        origin(),
        &mut batches(false),
        &mut |_| Continue(()),
    );
    assert!(again.unwrap_err().to_string().contains("not empty"));
}

#[test]
fn nothing_is_left_of_shards_that_are_broken_off_in_either_phase() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("s");
    let scattering = |progress: WriteProgress| progress.scattered >= 500;
    let shuffling = |progress: WriteProgress| progress.shuffled > 0;
    for ends in [&scattering as &dyn Fn(WriteProgress) -> bool, &shuffling] {
        let mut seen = 0;
        let written = write(
            &path,
            &config(2_050),
            origin(),
            &mut batches(false),
            &mut |progress| {
                seen += 1;
                if ends(progress) {
                    Break(())
                } else {
                    Continue(())
                }
            },
        );
        assert!(written.unwrap().is_none() && seen > 1);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}

#[test]
fn progress_reaches_the_end_in_both_phases() {
    let folder = TempDir::new().unwrap();
    let mut last = None;
    let progress = &mut |progress: WriteProgress| {
        last = Some(progress);
        Continue(())
    };
    let path = folder.path().join("s");
    write(
        &path,
        &config(2_050),
        origin(),
        &mut batches(false),
        progress,
    )
    .unwrap();
    assert_eq!(
        last,
        Some(WriteProgress {
            scattered: 2_050,
            shuffled: 2_050,
            tokens: 2_050,
        })
    );
}

#[test]
fn an_incomplete_folder_of_shards_is_refused_by_name() {
    let (folder, shards) = make(&config(2_000), true);
    let path = shards.folder().to_path_buf();
    let refused = || Shards::open(&path).err().unwrap().to_string();
    let manifest = path.join("shards.json");
    let json = std::fs::read_to_string(&manifest).unwrap();
    for (from, to, reason) in [
        (
            "activations-1",
            "activations-2",
            "`saescope-activations-1` is read",
        ),
        ("\"d_in\": 2", "\"d_in\": 0", "no width"),
        (
            "\"tokens\": 2000",
            "\"tokens\": 2001",
            "it says 2001 tokens",
        ),
        ("\"tokens\": 2000", "\"tokens\": -1", "invalid value"),
        ("\"shard-00000", "\"../shard-00000", "not a file name"),
        ("\"seed\"", "\"sead\"", "unknown field"),
        ("{", "[", "shards.json: expected"),
    ] {
        std::fs::write(&manifest, json.replacen(from, to, 1)).unwrap();
        assert!(refused().contains(reason), "{to}: {}", refused());
    }
    std::fs::write(&manifest, &json).unwrap();
    let shard = path.join("shard-00002.safetensors");
    let bytes = std::fs::read(&shard).unwrap();
    std::fs::write(&shard, &bytes[1..]).unwrap();
    assert!(
        refused().contains("shard-00002.safetensors: it has"),
        "{}",
        refused()
    );
    std::fs::remove_file(&shard).unwrap();
    assert!(matches!(Shards::open(&path), Err(Error::Io { .. })));
    std::fs::remove_file(&manifest).unwrap();
    assert!(
        refused().contains("the folder holds no shards"),
        "{}",
        refused()
    );
    drop(folder);
}

#[test]
fn a_shard_is_checked_before_it_is_read() {
    let (_folder, shards) = make(&config(2_000), false);
    let shard = shards.folder().join("shard-00001.safetensors");
    let mut bytes = std::fs::read(&shard).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&shard, bytes).unwrap();
    let shards = Shards::open(shards.folder()).unwrap();
    let batches: Vec<_> = shards.batches(900).unwrap().take(2).collect();
    assert!(batches[0].is_ok());
    let error = batches[1].as_ref().unwrap_err().to_string();
    assert!(
        error.contains("shard-00001.safetensors: its checksum"),
        "{error}"
    );
}

#[test]
fn a_shard_of_another_shape_than_stated_is_refused() {
    let (_folder, shards) = make(&config(500), true);
    let path = shards.folder().join("shards.json");
    let json = std::fs::read_to_string(&path).unwrap();
    for (from, to) in [
        ("\"d_in\": 2", "\"d_in\": 3"),
        ("\"d_out\": 3", "\"d_out\": 2"),
        ("\"f32\"", "\"bf16\""),
    ] {
        std::fs::write(&path, json.replacen(from, to, 1)).unwrap();
        let shards = Shards::open(shards.folder()).unwrap();
        let first = shards.batches(10).unwrap().next().unwrap();
        assert!(matches!(first, Err(Error::Tensor { .. })), "{to}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn shards_of_any_size_keep_all_rows(
        tokens in 1u64..700,
        shard_bytes in 1u64..3000,
        batch in 1usize..300,
    ) {
        let config = ShardsConfig { shard_bytes, ..config(tokens) };
        let (_folder, shards) = make(&config, false);
        let mut found = Vec::new();
        for batch in shards.batches(batch).unwrap() {
            let batch = batch.unwrap();
            found.extend((0..batch.x.rows()).map(|row| batch.x.row(row)[0] as u64));
            if found.len() as u64 >= tokens {
                break;
            }
        }
        found.truncate(tokens as usize);
        found.sort_unstable();
        prop_assert!(found.into_iter().eq(0..tokens));
    }
}
