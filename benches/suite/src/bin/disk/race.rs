//! Runs contestants in alternating rounds and prints a table of their times.

use std::time::Instant;

/// Measures nanoseconds for an operation, of the median round; the contestants alternate.
pub(crate) struct Race<'a> {
    names: Vec<&'static str>,
    rounds: Vec<Vec<f64>>,
    count: u64,
    what: &'a str,
}

impl<'a> Race<'a> {
    pub(crate) fn new(what: &'a str, count: u64) -> Self {
        Self { names: Vec::new(), rounds: Vec::new(), count, what }
    }

    pub(crate) async fn turn<F: Future<Output = anyhow::Result<()>>>(
        &mut self,
        name: &'static str,
        mut act: impl FnMut(u64) -> F,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        for n in 0..self.count {
            act(n).await?;
        }
        let each = begun.elapsed().as_nanos() as f64 / self.count as f64;
        match self.names.iter().position(|known| *known == name) {
            Some(at) => self.rounds[at].push(each),
            None => {
                self.names.push(name);
                self.rounds.push(vec![each]);
            }
        }
        Ok(())
    }

    pub(crate) fn print(mut self) {
        println!("\n| {} | µs | ratio |\n|---|---|---|", self.what);
        let mut base = None;
        for (name, rounds) in self.names.iter().zip(&mut self.rounds) {
            rounds.sort_by(f64::total_cmp);
            let median = rounds[rounds.len() / 2];
            let base = *base.get_or_insert(median);
            println!("| {name} | {:.2} | {:.2} |", median / 1000.0, median / base);
        }
    }
}
