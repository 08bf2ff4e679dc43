//! One attempt of one event, and what becomes of it.

use std::sync::Arc;
use std::time::Duration;

use coldframe_core::Destination;
use coldframe_core::asynchronous::{AsyncTarget, NoTarget};
use coldframe_core::error::chain;
use coldframe_core::invoke::{Answer, Invocation, Refusal};
use coldframe_core::limits::ASYNC_AGE;
use coldframe_core::lineage::{self, HOPS_MAX};
use coldframe_core::observe::Metric;
use coldframe_store::FunctionKey;
use coldframe_store::queue::{Event, Lease, Work};
use uuid::Uuid;

use crate::destination::{self, Delivery};
use crate::policy::{Condition, Limits, Next, Outcome, Standing, back_off};
use crate::poller::Place;
use crate::record::{Ended, Response};
use crate::{World, now};

/// A destination that hangs holds up the end of the service so long.
const END_LIMIT: Duration = Duration::from_secs(1);

/// Holds its place until all is decided.
pub(crate) async fn attempt(mut place: Place, world: Arc<World>, lease: Box<dyn Lease>) {
    let read = tokio::task::spawn_blocking(move || {
        let event = lease.read();
        (lease, event)
    });
    // The event loop ends: dropped, the lease changes nothing.
    let Ok((lease, event)) = read.await else { return };
    match event {
        Ok(Some(event)) => match event.work.clone() {
            Work::Invoke { function, qualifier, tenant_id } => {
                let tenant = tenant_id.map(Into::into);
                let asked = (&function, qualifier.as_deref(), tenant);
                invoke(&mut place, &world, lease, event, asked).await;
            }
            Work::Deliver { .. } => deliver(&place, lease, event).await,
        },
        Ok(None) => {
            tracing::warn!(lane = %place.lane, "an event is gone with its function");
            finish(&place, lease, Vec::new());
        }
        Err(error) => {
            tracing::error!(error = chain(&error), lane = %place.lane, "an event cannot be read");
            match error {
                coldframe_store::Error::DamagedEvent { .. } => lease.set_aside(),
                _ => put_back(&place, lease),
            }
        }
    }
}

async fn invoke(
    place: &mut Place,
    world: &World,
    lease: Box<dyn Lease>,
    event: Event,
    (function, qualifier, tenant_id): (&FunctionKey, Option<&str>, Option<Arc<str>>),
) {
    let arn = function.arn();
    let shared = place.shared.clone();
    let measure = |metric, value| shared.measure((&arn, qualifier), metric, value);
    let target = match world.functions.async_target(&arn, qualifier) {
        Ok(target) => target,
        Err(NoTarget::NotYet) => return put_back(place, lease),
        Err(NoTarget::Gone) => {
            let request_id = event.request_id;
            tracing::warn!(function = %arn, qualifier, %request_id, "an event's function is gone");
            measure(Metric::AsyncEventsDropped, 1.0);
            return finish(place, lease, Vec::new());
        }
    };
    // A function that keeps tenants apart can't run for none, and another knows of none.
    let tenant_id = match (target.version.tenant_isolation, tenant_id) {
        (true, None) => {
            let request_id = event.request_id;
            tracing::warn!(function = %arn, %request_id, "an event has no tenant, which its function needs");
            measure(Metric::AsyncEventsDropped, 1.0);
            return finish(place, lease, Vec::new());
        }
        (true, tenant_id) => tenant_id,
        (false, _) => None,
    };
    let limits = Limits {
        retries_max: target.retries_max,
        age_max: target.age_max,
        time_scale: place.shared.options.time_scale,
    };
    let mut standing = Standing {
        now: now(),
        enqueued: lease.enqueued(),
        attempts: lease.attempts(),
        put_backs: lease.put_backs(),
    };
    let end = |condition, attempts, answer: Option<&Answer>| {
        if condition != Condition::Success {
            measure(Metric::AsyncEventsDropped, 1.0);
        }
        let response = answer.map(|answer| Response {
            version: &target.version.version,
            function_error: answer.function_error,
            payload: &answer.payload,
        });
        let ended = Ended {
            at: now(),
            request_id: event.request_id.to_string(),
            function_arn: &arn.qualified(qualifier.unwrap_or("$LATEST")),
            condition,
            attempts,
            request_payload: &event.payload,
            response,
        };
        tellings(&ended, &event, (function, tenant_id.as_deref()), &target)
    };
    let trace = event.trace_header.as_deref();
    if !target.may_loop && trace.is_some_and(|trace| lineage::hops(trace, &arn) > HOPS_MAX) {
        measure(Metric::RecursiveInvocationsDropped, 1.0);
        return finish(place, lease, end(Condition::RecursiveInvocation, standing.attempts, None));
    }
    if target.switched_off {
        return finish(
            place,
            lease,
            end(Condition::ZeroReservedConcurrency, standing.attempts, None),
        );
    }
    if limits.is_too_old(&standing) {
        return finish(place, lease, end(Condition::EventAgeExceeded, standing.attempts, None));
    }
    let answer = world.invoker.invoke(Invocation {
        request_id: event.request_id,
        function: target.version.clone(),
        invoked_arn: qualifier.map_or_else(|| arn.to_string(), |name| arn.qualified(name)),
        payload: event.payload.clone(),
        client_context: None,
        cognito_identity: None,
        trace_header: event.trace_header.clone(),
        wants_log_tail: false,
        tenant_id: tenant_id.clone(),
    });
    let answer = answer.await;
    let outcome = match &answer {
        Ok(answer) if answer.function_error => Outcome::FunctionError,
        Ok(_) => Outcome::Success,
        // It stays for the next service.
        Err(Refusal::Draining) => return,
        Err(refusal) => {
            place.throttled = matches!(refusal, Refusal::Throttled { .. });
            if !place.throttled {
                tracing::warn!(function = %arn, %refusal, "an event could not run");
            }
            Outcome::Refused
        }
    };
    if outcome != Outcome::Refused {
        // How old it was when the function got it.
        measure(Metric::AsyncEventAge, (standing.now - standing.enqueued).max(0) as f64);
        standing.attempts += 1;
    }
    standing.now = now();
    match limits.next(&standing, outcome) {
        Next::End(condition) => {
            finish(place, lease, end(condition, standing.attempts, answer.as_ref().ok()))
        }
        Next::Retry { due } => lease.delay(due, standing.attempts),
        Next::PutBack { due } => lease.put_back(due),
    }
}

/// The events that tell of one that has ended.
fn tellings(
    ended: &Ended<'_>,
    event: &Event,
    (function, tenant_id): (&FunctionKey, Option<&str>),
    target: &AsyncTarget,
) -> Vec<Event> {
    let success = ended.condition == Condition::Success;
    let destination = if success { &target.on_success } else { &target.on_failure };
    let mut tellings = Vec::new();
    if let Some(destination) = destination {
        let mut trace_header = event.trace_header.clone();
        let (request_id, work) = match Destination::parse(destination) {
            // A new invocation, of another function, for the same tenant.
            Some(Destination::Function { function, qualifier }) => {
                trace_header = trace_header.map(|trace| lineage::enter(&trace, &function));
                let function = FunctionKey::from(&function);
                let tenant_id = tenant_id.map(str::to_owned);
                let work = Work::Invoke { function, qualifier, tenant_id };
                (Uuid::new_v4().into(), work)
            }
            _ => (event.request_id, deliver_to(destination, ended, function, false)),
        };
        tellings.push(Event { request_id, trace_header, work, payload: ended.record() });
    }
    if let (false, Some(dead_letter)) = (success, &target.dead_letter) {
        let work = deliver_to(dead_letter, ended, function, true);
        tellings.push(Event { work, ..event.clone() });
    }
    tellings
}

fn deliver_to(
    destination: &str,
    ended: &Ended<'_>,
    function: &FunctionKey,
    as_dead_letter: bool,
) -> Work {
    Work::Deliver {
        destination: destination.to_owned(),
        function: function.clone(),
        function_arn: ended.function_arn.to_owned(),
        success: ended.condition == Condition::Success,
        dead_letter: as_dead_letter.then(|| ended.dead_letter()),
    }
}

async fn deliver(place: &Place, lease: Box<dyn Lease>, event: Event) {
    let options = &place.shared.options;
    let delivery = Delivery { event: &event, at: lease.enqueued() };
    let end = async {
        place.shared.stopped().await;
        tokio::time::sleep(END_LIMIT).await;
    };
    let delivered = tokio::select! {
        delivered = destination::deliver(options, &delivery) => delivered,
        // The next service sends it.
        () = end => return,
    };
    let Err(error) = delivered else { return finish(place, lease, Vec::new()) };
    if let Work::Deliver { function, function_arn, dead_letter, .. } = &event.work {
        let metric = match dead_letter {
            Some(_) => Metric::DeadLetterErrors,
            None => Metric::DestinationDeliveryFailures,
        };
        // `arn:aws:lambda:REGION:ACCOUNT:function:NAME:QUALIFIER`
        let qualifier = function_arn.splitn(8, ':').nth(7);
        place.shared.measure((&function.arn(), qualifier), metric, 1.0);
    }
    let limits = Limits { retries_max: 0, age_max: ASYNC_AGE, time_scale: options.time_scale };
    let standing = Standing {
        now: now(),
        enqueued: lease.enqueued(),
        attempts: 0,
        put_backs: lease.put_backs(),
    };
    let next = limits.next(&standing, Outcome::Refused);
    let gives_up = error.is_final() || matches!(next, Next::End(_));
    tracing::warn!(
        destination = %place.lane,
        request_id = %event.request_id,
        error = chain(&error),
        gives_up,
        "a destination was not reached"
    );
    if gives_up { finish(place, lease, Vec::new()) } else { put_back(place, lease) }
}

fn finish(place: &Place, lease: Box<dyn Lease>, successors: Vec<Event>) {
    let invoked = successors.iter().find_map(|event| match &event.work {
        Work::Invoke { function, qualifier, .. } => Some((function.arn(), qualifier.clone())),
        Work::Deliver { .. } => None,
    });
    if let Err(error) = lease.finish(successors, now()) {
        tracing::error!(error = chain(&error), "the end of an event could not be kept");
    } else if let Some((function, qualifier)) = invoked {
        let of = (&function, qualifier.as_deref());
        place.shared.measure(of, Metric::AsyncEventsReceived, 1.0);
    }
}

fn put_back(place: &Place, lease: Box<dyn Lease>) {
    let wait = back_off(lease.put_backs(), place.shared.options.time_scale);
    lease.put_back(now() + wait);
}
