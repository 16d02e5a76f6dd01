//! The first principal component of paired differences.

use saescope_kernels::Matrix;

/// Bound of the steps of the power iteration. With a gap between the two largest eigenvalues it ends far
/// sooner; without a gap, every direction between the two eigenvectors explains as much variance.
const MAX_STEPS: usize = 2000;

/// Norm of a step's change of the unit direction, below which the iteration ends.
const TOLERANCE: f64 = 1e-10;

/// First principal component, as a unit direction, of the rows of `differences`, `[pairs, d]`, about
/// their mean or about zero. Most differences point along it, not against it. All zeros if all rows are.
///
/// A deterministic power iteration that starts from the longest row.
pub(super) fn first_component(differences: &Matrix, about_mean: bool) -> Vec<f32> {
    let d = differences.cols();
    let rows = (0..differences.rows()).map(|row| differences.row(row));
    let mut centred: Vec<Vec<f64>> = rows
        .map(|row| row.iter().map(|&x| f64::from(x)).collect())
        .collect();
    if about_mean {
        subtract_mean(&mut centred, d);
    }
    let mut direction = longest(&centred, d);
    for _ in 0..MAX_STEPS {
        let mut next = vec![0.0; d]; // X^T X v
        for row in &centred {
            let along = dot(row, &direction);
            next.iter_mut().zip(row).for_each(|(n, x)| *n += along * x);
        }
        if !to_unit(&mut next) {
            break;
        }
        let moved = next.iter().zip(&direction);
        let moved: f64 = moved.map(|(a, b)| (a - b) * (a - b)).sum();
        direction = next;
        if moved.sqrt() < TOLERANCE {
            break;
        }
    }
    let direction: Vec<f32> = direction.iter().map(|&x| x as f32).collect();
    with_majority(differences, direction)
}

fn subtract_mean(rows: &mut [Vec<f64>], d: usize) {
    let mut mean = vec![0.0; d];
    for row in rows.iter() {
        mean.iter_mut().zip(row).for_each(|(m, x)| *m += x);
    }
    let count = rows.len() as f64;
    for row in rows {
        row.iter_mut()
            .zip(&mean)
            .for_each(|(x, sum)| *x -= sum / count);
    }
}

/// The longest row as a unit vector, slightly tilted; it is not orthogonal to the rows' span.
fn longest(rows: &[Vec<f64>], d: usize) -> Vec<f64> {
    let longest = rows.iter().max_by(|a, b| dot(a, a).total_cmp(&dot(b, b)));
    let mut start = longest.cloned().unwrap_or_else(|| vec![0.0; d]);
    // The tilt has a part of every coordinate, so that a start at another eigenvector moves on.
    let tilt = 1e-3 * dot(&start, &start).sqrt();
    for (i, x) in start.iter_mut().enumerate() {
        *x += tilt / (1.0 + i as f64);
    }
    to_unit(&mut start);
    start
}

/// Scales to length 1; returns false if all are zero.
fn to_unit(x: &mut [f64]) -> bool {
    let length = dot(x, x).sqrt();
    if length > 0.0 {
        x.iter_mut().for_each(|x| *x /= length);
    }
    length > 0.0
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Negates `direction` if more pairs point against it than along it, as repeng does.
fn with_majority(differences: &Matrix, mut direction: Vec<f32>) -> Vec<f32> {
    let along = |row: usize| -> f64 {
        let products = differences.row(row).iter().zip(&direction);
        products.map(|(&a, &b)| f64::from(a) * f64::from(b)).sum()
    };
    let signs = (0..differences.rows()).map(along);
    let balance: i64 = signs.map(|x| i64::from(x > 0.0) - i64::from(x < 0.0)).sum();
    if balance < 0 {
        direction.iter_mut().for_each(|x| *x = -*x);
    }
    direction
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The leading eigenvector of a symmetric 2 x 2 matrix `[[a, b], [b, c]]` has half the angle
    /// `atan2(2 b, a - c)`.
    fn closed_form(rows: &[[f64; 2]]) -> [f64; 2] {
        let sum = |f: fn(&[f64; 2]) -> f64| rows.iter().map(f).sum::<f64>();
        let (a, b, c) = (
            sum(|r| r[0] * r[0]),
            sum(|r| r[0] * r[1]),
            sum(|r| r[1] * r[1]),
        );
        let angle = (2.0 * b).atan2(a - c) / 2.0;
        [angle.cos(), angle.sin()]
    }

    const ROWS: [[f64; 2]; 4] = [[3.0, 1.0], [2.0, -1.0], [4.0, 0.5], [-1.0, 2.0]];

    fn matrix(rows: &[[f64; 2]]) -> Matrix {
        let flat = rows.iter().flatten().map(|&x| x as f32).collect();
        Matrix::from_vec(rows.len(), 2, flat)
    }

    fn close(found: &[f32], expected: [f64; 2]) {
        let near = |(f, e): (&f32, &f64)| (f64::from(*f) - e).abs() < 1e-5;
        assert!(
            found.iter().zip(&expected).all(near),
            "{found:?} {expected:?}"
        );
    }

    #[test]
    fn the_component_about_zero_is_the_closed_form_of_two_dimensions() {
        close(&first_component(&matrix(&ROWS), false), closed_form(&ROWS));
    }

    #[test]
    fn the_component_about_the_mean_is_the_closed_form_of_the_centred_rows() {
        let [x, y] = [0, 1].map(|i| ROWS.iter().map(|r| r[i]).sum::<f64>() / 4.0);
        let centred = ROWS.map(|r| [r[0] - x, r[1] - y]);
        let expected = closed_form(&centred);
        // Three of the four differences have a positive product with it or with its negative.
        let along = ROWS
            .iter()
            .filter(|r| r[0] * expected[0] + r[1] * expected[1] > 0.0);
        let sign = if along.count() >= 2 { 1.0 } else { -1.0 };
        close(
            &first_component(&matrix(&ROWS), true),
            expected.map(|x| sign * x),
        );
        let about_zero = closed_form(&ROWS);
        assert!(
            (expected[1].abs() - about_zero[1].abs()).abs() > 0.1,
            "the two differ"
        );
    }

    #[test]
    fn the_sign_is_that_of_the_majority() {
        // The one long difference points down; most point up.
        let rows = [[0.0, -9.0], [0.1, 1.0], [-0.1, 1.0], [0.0, 2.0]];
        let up = first_component(&matrix(&rows), false);
        assert!(up[1] > 0.99, "{up:?}");
        let turned = rows.map(|r| r.map(|x| -x));
        assert!(first_component(&matrix(&turned), false)[1] < -0.99);
    }

    #[test]
    fn equal_differences_have_an_axis_about_zero() {
        let rows = [[1.0, 2.0]; 3];
        let about_zero = first_component(&matrix(&rows), false);
        close(&about_zero, [1.0 / 5.0_f64.sqrt(), 2.0 / 5.0_f64.sqrt()]);
    }
}
