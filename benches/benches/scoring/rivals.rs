//! The same search by other means: f32 GEMM and argmin, and an approximate index. One thread each.

use hnsw_rs::prelude::{DistL2, Hnsw};

use crate::data::Case;

fn floats(values: impl Iterator<Item = i8>) -> Vec<f32> {
    values.map(f32::from).collect()
}

/// `|b|^2 - 2 q.b` by `matrixmultiply`, then the least of each line.
pub struct Gemm {
    queries: Vec<f32>,
    rows: Vec<f32>,
    norms: Vec<f32>,
    products: Vec<f32>,
    dimension: usize,
}

impl Gemm {
    pub fn new(case: &Case) -> Self {
        let rows = floats(case.rows.iter().map(|&v| v as i8));
        let norms: Vec<f32> = rows
            .chunks_exact(case.dimension)
            .map(|row| row.iter().map(|v| v * v).sum())
            .collect();
        Self {
            queries: floats(case.features.iter().copied()),
            products: vec![0.0; case.grid.len() * norms.len()],
            dimension: case.dimension,
            rows,
            norms,
        }
    }

    /// Nearest row of each query.
    pub fn search(&mut self) -> Vec<u32> {
        let (n, m, d) = (
            self.queries.len() / self.dimension,
            self.norms.len(),
            self.dimension,
        );
        // SAFETY: queries are [n, d], rows [m, d] (read transposed), products [n, m].
        unsafe {
            matrixmultiply::sgemm(
                n,
                d,
                m,
                -2.0,
                self.queries.as_ptr(),
                d as isize,
                1,
                self.rows.as_ptr(),
                1,
                d as isize,
                0.0,
                self.products.as_mut_ptr(),
                m as isize,
                1,
            );
        }
        let lines = self.products.chunks_exact(m);
        lines
            .map(|line| {
                let mut best = (0, f32::INFINITY);
                for (row, (product, norm)) in line.iter().zip(&self.norms).enumerate() {
                    let distance = product + norm;
                    if distance < best.1 {
                        best = (row as u32, distance);
                    }
                }
                best.0
            })
            .collect()
    }
}

/// `hnsw_rs` on the rows as f32; building it is not measured.
pub struct Graph {
    index: Hnsw<'static, f32, DistL2>,
    queries: Vec<Vec<f32>>,
}

impl Graph {
    pub fn new(case: &Case) -> Self {
        let index = Hnsw::new(16, case.row_count(), 16, 200, DistL2 {});
        for (number, row) in case.rows.chunks_exact(case.dimension).enumerate() {
            index.insert((&floats(row.iter().map(|&v| v as i8)), number));
        }
        let queries = case
            .features
            .chunks_exact(case.dimension)
            .map(|query| floats(query.iter().copied()))
            .collect();
        Self { index, queries }
    }

    /// Approximately nearest row of each query, `effort` candidates wide.
    pub fn search(&self, effort: usize) -> Vec<u32> {
        let first = |query: &Vec<f32>| {
            let found = self.index.search(query, 1, effort);
            found.first().map_or(u32::MAX, |hit| hit.d_id as u32)
        };
        self.queries.iter().map(first).collect()
    }
}
