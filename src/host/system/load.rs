//! The load: how many tasks run, want to run, or wait for a disk, averaged (proc_loadavg(5)).

use procfs::{FromRead as _, LoadAverage};

use super::cpu::read_cpu_times;
use super::parse_kernel;
use crate::host::bounded::ANSWER_WITHIN;
use crate::host::{HostError, Observe};

/// The load averages, and how many processors share the load.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Over the last minute.
    pub one: f64,
    /// Over five minutes.
    pub five: f64,
    /// Over fifteen minutes.
    pub fifteen: f64,
    /// How many processors are online.
    pub cores: usize,
}

fn parse_loadavg(text: &str) -> Result<[f64; 3], String> {
    let wrong = || format!("`{}` is no load", text.trim());
    let load = LoadAverage::from_read(text.as_bytes()).map_err(|_| wrong())?;
    let averages = [load.one, load.five, load.fifteen];
    if averages
        .iter()
        .any(|value| !value.is_finite() || *value < 0.0)
    {
        return Err(wrong());
    }
    // The kernel writes two decimals; the reader's single precision adds more.
    Ok(averages.map(|value| (f64::from(value) * 100.0).round() / 100.0))
}

impl Observe {
    /// The load averages, and how many processors share the load.
    ///
    /// # Errors
    /// When `/proc/loadavg` or `/proc/stat` cannot be read or makes no sense.
    pub async fn load(&self) -> Result<Load, HostError> {
        self.bounded("look at the load", ANSWER_WITHIN, || {
            let [one, five, fifteen] = parse_kernel("/proc/loadavg", parse_loadavg)?;
            Ok(Load {
                one,
                five,
                fifteen,
                cores: read_cpu_times()?.cores.len(),
            })
        })
        .await
    }
}

#[cfg(test)]
mod tests {
    use super::parse_loadavg;

    #[test]
    fn reads_three_averages() {
        let text = "0.46 12.66 0.61 1/98 19621\n";
        assert_eq!(parse_loadavg(text).unwrap(), [0.46, 12.66, 0.61]);
    }

    #[test]
    fn broken_texts_are_errors() {
        for text in [
            "",
            "0.46 0.66\n",
            "0.46 x 0.61 1/98 19621\n",
            "0.46 nan 0.61 1/98 19621\n",
            "0.46 -1 0.61 1/98 19621\n",
            "0.46 0.66 0.61 198 19621\n",
        ] {
            assert!(parse_loadavg(text).is_err(), "{text:?}");
        }
    }
}
