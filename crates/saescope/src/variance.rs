//! The variance of activations, and the fraction of it that a reconstruction leaves unexplained.
//!
//! For activations `x` and reconstructions `y`, `FVU = sum |x - y|^2 / sum |x - mean x|^2` and explained
//! variance is `1 - FVU`; the sums and the mean are over all tokens. Rows in memory are compared with
//! their mean; rows that only pass by are summed up, and their variance follows from the sums.

use saescope_kernels::{Matrix, squared_row_distances, weighted_sum_of_rows};

/// The share of `sum |x|^2` below which a variance computed from sums is rounding error.
const ROUNDING: f64 = 1e-14;

/// `sum |x - mean x|^2` over the rows of `x`, the mean rounded to f32.
pub(crate) fn total_variance(x: &Matrix) -> f64 {
    squared_row_distances(x, &column_means(x)).iter().sum()
}

/// `sum |x - mean x|^2` of `rows` rows, given `squares`, the sum of `|x|^2`, and `sums`, the sum of `x`.
/// None if all rows are equal, but for rounding.
pub(crate) fn variance_from_sums(squares: f64, sums: &[f64], rows: f64) -> Option<f64> {
    // The difference of two large numbers, for which f64 has digits enough.
    let variance = squares - sums.iter().map(|sum| sum * sum).sum::<f64>() / rows;
    (variance > squares * ROUNDING).then_some(variance)
}

/// FVU over some rows of `x` and their reconstructions `y`, all in f64. None if there is no variance.
pub(crate) fn fvu(x: &Matrix, y: &Matrix, rows: &[usize]) -> Option<f64> {
    let mut mean = vec![0.0_f64; x.cols()];
    for &row in rows {
        let pairs = mean.iter_mut().zip(x.row(row));
        pairs.for_each(|(mean, &x)| *mean += f64::from(x) / rows.len() as f64);
    }
    let (mut error, mut variance) = (0.0, 0.0);
    for &row in rows {
        for ((&x, &y), mean) in x.row(row).iter().zip(y.row(row)).zip(&mean) {
            error += (f64::from(x) - f64::from(y)).powi(2);
            variance += (f64::from(x) - mean).powi(2);
        }
    }
    (variance != 0.0).then(|| error / variance)
}

/// The mean of every column.
pub(crate) fn column_means(x: &Matrix) -> Vec<f32> {
    let n = x.rows().max(1) as f64;
    column_sums(x).iter().map(|sum| (sum / n) as f32).collect()
}

/// The sum of every column.
pub(crate) fn column_sums(x: &Matrix) -> Vec<f64> {
    weighted_sum_of_rows(x, &vec![1.0; x.rows()])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Matrix {
        Matrix::from_fn(7, 3, |row, col| ((row * 5 + col * 3) % 11) as f32 - 2.5)
    }

    #[test]
    fn variances_in_memory_and_from_sums_agree() {
        let x = sample();
        let squares: f64 = x.data().iter().map(|&x| f64::from(x).powi(2)).sum();
        let streamed = variance_from_sums(squares, &column_sums(&x), 7.0).unwrap();
        let held = total_variance(&x);
        assert!((streamed - held).abs() < 1e-4 * held, "{streamed} {held}");
    }

    #[test]
    fn equal_rows_have_no_variance() {
        let x = Matrix::from_fn(4, 3, |_, col| 0.1 * col as f32);
        let squares: f64 = x.data().iter().map(|&x| f64::from(x).powi(2)).sum();
        assert_eq!(variance_from_sums(squares, &column_sums(&x), 4.0), None);
        assert_eq!(fvu(&Matrix::zeros(4, 3), &x, &[0, 1, 2, 3]), None);
    }

    #[test]
    fn the_mean_as_reconstruction_explains_nothing() {
        let x = sample();
        let means = column_means(&x);
        let y = Matrix::from_fn(7, 3, |_, col| means[col]);
        let rows: Vec<usize> = (0..7).collect();
        assert!((fvu(&x, &y, &rows).unwrap() - 1.0).abs() < 1e-6);
        assert_eq!(fvu(&x, &x, &rows), Some(0.0));
    }
}
