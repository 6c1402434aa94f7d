//! The recorder of metrics, for `/metrics` of the admin listener.

use std::time::Duration;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tokio::task::spawn_local;

/// Installs the Prometheus recorder, and a task that maintains its histograms.
pub(super) fn install() -> anyhow::Result<PrometheusHandle> {
    let seconds = [0.000_1, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 60.0];
    let name = Matcher::Full("larder_http_request_duration_seconds".to_owned());
    let handle = PrometheusBuilder::new().set_buckets_for_metric(name, &seconds)?.install_recorder()?;
    let upkeep = handle.clone();
    spawn_local(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(5));
        loop {
            ticks.tick().await;
            upkeep.run_upkeep();
        }
    });
    Ok(handle)
}
