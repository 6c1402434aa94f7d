//! Traces: which keys are requested, in which order.

use fastrand::Rng;

/// A Zipf distribution: the n-th most popular key is requested 1/n^skew times as often as the
/// first.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(keys: usize, skew: f64) -> Self {
        let mut sum = 0.0;
        let sums = (1..=keys).map(|n| {
            sum += (n as f64).powf(-skew);
            sum
        });
        Self(sums.collect())
    }

    fn draw(&self, random: &mut Rng) -> usize {
        let at = random.f64() * self.0.last().copied().unwrap_or(1.0);
        self.0.partition_point(|sum| *sum < at).min(self.0.len() - 1)
    }
}

/// Returns all traces with their names.
pub(crate) fn all(count: usize, keys: usize, room: usize) -> Vec<(&'static str, Vec<usize>)> {
    let mut random = Rng::with_seed(7);
    let popular = keys / 2;
    let (web, flat) = (Zipf::new(popular, 1.0), Zipf::new(popular, 0.8));
    let zipf = |zipf: &Zipf, random: &mut Rng| (0..count).map(|_| zipf.draw(random)).collect::<Vec<_>>();
    let as_web = zipf(&web, &mut random);
    // A crawler requests each of its pages once, among the requests of visitors.
    let mut crawled = 0;
    let scanned = (0..count).map(|n| {
        if n / (10 * room) % 2 == 1 && n % 2 == 0 {
            crawled += 1;
            popular + crawled % (keys - popular)
        } else {
            web.draw(&mut random)
        }
    });
    let scanned = scanned.collect();
    // Popularity changes: other keys are popular in each tenth of the trace.
    let moving = (0..count).map(|n| (web.draw(&mut random) + n * 10 / count * 7919) % popular).collect();
    let around = (0..count).map(|n| n % (room * 3 / 2)).collect();
    vec![
        ("Zipf 1.0", as_web),
        ("Zipf 0.8", zipf(&flat, &mut random)),
        ("Zipf 1.0, a crawler comes by", scanned),
        ("Zipf 1.0, tastes change", moving),
        ("around half as much again as there is room for", around),
    ]
}
