//! The operations on units.
//!
//! Starting and stopping make a job; the operation is over when `JobRemoved` reports that job's result, not when the
//! call is answered: between the two the processes are not yet in their group.

use std::time::Instant;

use crate::bus::systemd_call;
use crate::wire::Writer;
use crate::{Bus, Error, Property};

impl Bus {
    /// Makes the scope `name` in `slice` with the processes `pids` and waits until they are in it.
    /// `properties` must not repeat `Slice` and `PIDs`.
    ///
    /// # Errors
    /// [`Error::UnitExists`] where a unit of that name is still loaded (a failed one: [`Bus::reset_failed_unit`]),
    /// [`Error::JobFailed`], [`Error::JobTimeout`], and the errors of a call.
    pub fn start_transient_scope(
        &mut self,
        name: &str,
        slice: &str,
        pids: &[i32],
        properties: &[Property],
    ) -> Result<(), Error> {
        check_name(name, ".scope")?;
        check_name(slice, ".slice")?;
        let own = [Property::Slice(slice.to_owned()), Property::Pids(pids.to_vec())];
        self.start_transient(name, own.iter().chain(properties))
    }

    /// Makes the slice `name` and waits until its group exists. systemd makes the slices its name implies
    /// (`a-b.slice` lies in `a.slice`) by itself.
    ///
    /// # Errors
    /// As [`Bus::start_transient_scope`].
    pub fn start_transient_slice(&mut self, name: &str, properties: &[Property]) -> Result<(), Error> {
        check_name(name, ".slice")?;
        self.start_transient(name, properties.iter())
    }

    fn start_transient<'a>(
        &mut self,
        name: &str,
        properties: impl Iterator<Item = &'a Property>,
    ) -> Result<(), Error> {
        let mut body = Writer::default();
        body.string(name);
        body.string("replace");
        body.array(8, |out| properties.for_each(|property| property.write(out)));
        // No auxiliary units.
        body.array(8, |_| {});
        self.run_job("StartTransientUnit", "ssa(sv)a(sa(sv))", name, body)
    }

    /// Stops a unit and waits until it is stopped.
    ///
    /// # Errors
    /// [`Error::NoSuchUnit`] where it is not loaded, otherwise as [`Bus::start_transient_scope`].
    pub fn stop_unit(&mut self, name: &str) -> Result<(), Error> {
        check_name(name, "")?;
        let mut body = Writer::default();
        body.string(name);
        body.string("replace");
        self.run_job("StopUnit", "ss", name, body)
    }

    /// Forgets that a unit failed, so that systemd unloads it and its name is free.
    ///
    /// # Errors
    /// [`Error::NoSuchUnit`] where it is not loaded, and the errors of a call.
    pub fn reset_failed_unit(&mut self, name: &str) -> Result<(), Error> {
        check_name(name, "")?;
        let mut body = Writer::default();
        body.string(name);
        let deadline = self.deadline();
        self.call(&systemd_call("ResetFailedUnit", "s", body), name, deadline).map(drop)
    }

    /// Changes properties of a loaded unit; with `runtime` until the next boot, else for ever.
    ///
    /// # Errors
    /// [`Error::NoSuchUnit`] where it is not loaded, and the errors of a call.
    pub fn set_unit_properties(
        &mut self,
        name: &str,
        runtime: bool,
        properties: &[Property],
    ) -> Result<(), Error> {
        check_name(name, "")?;
        let mut body = Writer::default();
        body.string(name);
        body.u32(u32::from(runtime));
        body.array(8, |out| properties.iter().for_each(|property| property.write(out)));
        let deadline = self.deadline();
        self.call(&systemd_call("SetUnitProperties", "sba(sv)", body), name, deadline).map(drop)
    }

    fn run_job(
        &mut self,
        method: &'static str,
        signature: &'static str,
        unit: &str,
        body: Writer,
    ) -> Result<(), Error> {
        let deadline = self.deadline();
        let reply = self.call(&systemd_call(method, signature, body), unit, deadline)?;
        let job = reply.arguments("o")?.string()?.to_owned();
        self.wait_for_job(method, unit, &job, deadline)
    }

    fn wait_for_job(
        &mut self,
        method: &'static str,
        unit: &str,
        job: &str,
        deadline: Instant,
    ) -> Result<(), Error> {
        loop {
            let signal = self.job_removed(method, deadline).map_err(|error| match error {
                Error::NoAnswer { .. } => Error::JobTimeout { unit: unit.to_owned(), job: job.to_owned() },
                other => other,
            })?;
            let mut arguments = signal.arguments("uoss")?;
            arguments.u32()?;
            let (path, _unit, result) = (arguments.string()?, arguments.string()?, arguments.string()?);
            if path == job {
                return match result {
                    "done" => Ok(()),
                    _ => Err(Error::JobFailed { unit: unit.to_owned(), result: result.to_owned() }),
                };
            }
        }
    }
}

/// A unit name as `systemd.unit(5)` allows it: up to 255 characters of a small alphabet, with a known ending.
fn check_name(name: &str, suffix: &'static str) -> Result<(), Error> {
    let stem = name.strip_suffix(suffix).unwrap_or("");
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    if stem.is_empty() || name.len() > 255 || !name.bytes().all(allowed) {
        return Err(Error::InvalidUnitName { unit: name.chars().take(300).collect(), suffix });
    }
    Ok(())
}
