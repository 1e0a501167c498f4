//! One attempt: a request made ready for one upstream, sent, and its answer passed on.
//!
//! In: the place that was chosen. Out: the answer, on its way to the client, or the failure that
//! `attempts` decides by. What is made ready can also be looked at and given back (`explain`).
//! Never: chooses a place, or tries twice.

use super::Visit;
use super::account::Tally;
use super::attempts::{Errand, Site};
use super::envelope;
use super::exchange::{self, Answer, Halt, Parcel};
use super::failure::Failure;
use super::ingress::Ask;
use super::outgoing::{self, Course};
use super::{
    Scene, embed, identity, metering, mock, own, queue, reframe, result_urls, transcode, upload,
};
use crate::chat::{Dialect, Loss};
use crate::dialect::{Idiom, Reply};
use crate::net::client_conn::{ClientConn, Incoming};
use crate::provider::{Operation, endpoint};
use crate::wire::frames::Framing;
use crate::wire::http1::BodyKind;

/// What an attempt comes to.
#[derive(Debug)]
pub(super) enum Heading<'s> {
    /// The provider `mock` answers.
    Mock,
    /// The gateway counts the tokens itself.
    Estimate,
    Upstream(Box<Course<'s>>),
}

/// A request as it goes upstream, and what its answer needs to know of it.
#[derive(Debug)]
pub(super) struct Packed {
    pub parcel: Parcel,
    /// The parcel's body is the client's own, which moved there.
    own_body: bool,
    pub loss: Loss,
    reply: Reply,
    /// The upstream is asked for usage that the client did not ask for.
    usage_hidden: bool,
}

impl Packed {
    /// Gives the client's body back, so that it can be sent again.
    pub(super) fn give_back(&mut self, incoming: &mut Incoming) {
        if self.own_body {
            incoming.buf = std::mem::take(&mut self.parcel.buf);
        }
    }
}

impl Visit<'_> {
    /// What an attempt at one provider with one key comes to.
    ///
    /// # Errors
    /// The provider has no such operation.
    pub(super) fn heading<'s>(
        &self,
        errand: &Errand<'s>,
        site: &Site<'s>,
    ) -> Result<Heading<'s>, Failure> {
        let Errand { operation, ask, query, .. } = *errand;
        let Site { provider, model, key, .. } = *site;
        if provider.row.in_process {
            return match operation {
                Operation::CountTokens => Ok(Heading::Estimate),
                Operation::Chat => Ok(Heading::Mock),
                _ => Err(embed::not_played(&provider.name)),
            };
        }
        let dialect = self.voice.dialect;
        let subject = ask.id.as_deref().unwrap_or(model);
        let endpoint = if operation == Operation::Passthrough {
            endpoint::raw(provider, key, dialect, (subject, query))
        } else {
            endpoint::resolve(provider, key, operation, dialect, subject, ask.stream)
        };
        let endpoint = match endpoint {
            Ok(endpoint) if self.voice.idiom == Some(Idiom::Gemini) => endpoint.for_one(),
            Ok(endpoint) => endpoint,
            Err(endpoint::NoEndpoint::NotSpoken(Operation::CountTokens)) => {
                return Ok(Heading::Estimate);
            }
            Err(error) => return Err(Failure::invalid(format!("{}: {error}", provider.name))),
        };
        let same = self.voice.is(endpoint.dialect);
        if operation == Operation::CountTokens && !same {
            return Ok(Heading::Estimate);
        }
        if !same && !matches!(operation, Operation::Chat | Operation::Embedding) {
            let error = endpoint::NoEndpoint::NotSpoken(operation);
            return Err(Failure::invalid(format!("{}: {error}", provider.name)));
        }
        Ok(Heading::Upstream(Box::new(Course {
            provider,
            key,
            direct: site.direct,
            lease: None,
            metered: site.metered,
            model: endpoint.model,
            operation,
            query: if same { query } else { "" },
            absolute: provider.network.transport.proxy.is_some() && !endpoint.origin.tls,
            stream: ask.stream,
            betas: String::new(),
            endpoint,
        })))
    }

    /// One attempt, at one provider with one key.
    pub(super) async fn attempt(
        &self,
        client: &mut ClientConn,
        incoming: &mut Incoming,
        errand: &Errand<'_>,
        site: &Site<'_>,
        tally: &mut Tally,
    ) -> Result<(), Halt> {
        match self.heading(errand, site)? {
            Heading::Estimate => own::estimate(self, client, incoming, &mut tally.trail).await,
            Heading::Mock => {
                let at = (site.provider, site.model);
                mock::serve(self, client, incoming, errand.ask, at, tally).await
            }
            Heading::Upstream(mut course) => {
                let own_key = course.key.filter(|_| course.direct.is_none());
                course.lease = self.core.wallet.lease(client, course.provider, own_key).await?;
                course.betas = self.betas(incoming, &course, errand.ask);
                tally.upstream = Some(course.endpoint.dialect);
                let core = self.core;
                core.probe(&course.provider.name, course.key.map(|key| &*key.id));
                // Held until the answer's end.
                let _place = queue::enter(self, client, course.provider).await?;
                if let Some((from, to)) = self.reads(&course, incoming) {
                    let asked = (errand.ask, from, to);
                    let answering = embed::answer(self, client, incoming, &course, asked, tally);
                    return Box::pin(answering).await;
                }
                self.exchange(client, incoming, &course, errand.ask, tally).await
            }
        }
    }

    /// The beta flags that a call goes upstream with.
    pub(super) fn betas(&self, incoming: &Incoming, course: &Course<'_>, ask: &Ask) -> String {
        let in_body = ask.spans.anthropic_beta.map(|span| span.of(incoming.body()));
        let in_body = in_body.and_then(|raw| std::str::from_utf8(raw).ok());
        let filter = &self.snapshot.client.header_filter;
        outgoing::betas(course, incoming, filter, in_body)
    }

    /// Embeddings that have to be read and written anew: how they are asked for here and there.
    fn reads(&self, course: &Course<'_>, incoming: &Incoming) -> Option<(Idiom, Idiom)> {
        let (from, to) = self.voice.idiom.zip(course.endpoint.idiom)?;
        embed::has_to_read(from, to, incoming.body()).then_some((from, to))
    }

    /// Makes the request as it goes upstream. The client's own body may move into it: see
    /// [`Packed::give_back`].
    ///
    /// # Errors
    /// The body can't be read, or can't be said in the upstream's language, or there is no
    /// credential.
    pub(super) fn pack(
        &self,
        incoming: &mut Incoming,
        course: &Course<'_>,
        ask: &Ask,
    ) -> Result<Packed, Failure> {
        let mut loss = Loss::default();
        let mut reply = Reply::default();
        let same = self.voice.is(course.endpoint.dialect);
        let chat = same && course.endpoint.dialect == Dialect::OpenAiChat;
        let metered = chat && streams(course, ask) && course.metered;
        let options = metered.then(|| metering::stream_options(ask, incoming.body())).flatten();
        let body = if let Some(model) = &ask.form_model {
            outgoing::form_body(course, model, incoming.body())
        } else if let Some((from, to)) = self.reads(course, incoming) {
            // Of several, the first.
            let mut bodies = embed::bodies(self, incoming, course, (ask, from, to), &mut loss)?;
            bodies.drain(..).next().flatten()
        } else if same {
            let options = options.as_deref();
            let losing = (&mut loss, self.strict);
            outgoing::identity_body(course, &ask.spans, options, incoming.body(), losing)?
        } else {
            let betas = envelope::list(&course.betas);
            let mut request = self.voice.decode(incoming.body(), &mut loss)?;
            request.model = course.model.into();
            request.stream = ask.stream;
            envelope::tell(course, &mut request, &betas);
            reply = self.reply(ask, &request, incoming.body());
            Some(outgoing::encode(course, &request, &mut loss, self.strict)?)
        };
        let own_body = body.is_none();
        let filter = &self.snapshot.client.header_filter;
        let parcel = outgoing::parcel(self.core, course, incoming, filter, body)?;
        Ok(Packed { parcel, own_body, loss, reply, usage_hidden: options.is_some() })
    }

    /// Sends the request where it goes, and passes the answer on.
    async fn exchange(
        &self,
        client: &mut ClientConn,
        incoming: &mut Incoming,
        course: &Course<'_>,
        ask: &Ask,
        tally: &mut Tally,
    ) -> Result<(), Halt> {
        let core = self.core;
        let mut packed = self.pack(incoming, course, ask)?;
        tally.note_losses(&packed.loss);
        let origin = &course.endpoint.origin;
        let parcel = &mut packed.parcel;
        let sent = if incoming.rest == BodyKind::None {
            exchange::send(core, client, course.provider, origin, parcel).await
        } else {
            let to = (course.provider, origin.as_ref());
            Box::pin(upload::send(core, client, incoming, to, parcel)).await
        };
        packed.give_back(incoming);
        let answer = sent?;
        let Packed { loss, reply, usage_hidden, .. } = packed;
        let streams = streams(course, ask);
        let scene = self.scene(course, (streams, usage_hidden), &loss);
        tally.status = answer.head.status;
        tally.trail.head(answer.head.status, core.clock.since_start());
        let passes = course.operation == Operation::Passthrough && answer.head.status < 400;
        if !passes && !(200..300).contains(&answer.head.status) {
            return Err(self.refused(client, &scene, answer).await);
        }
        if result_urls::concerns(&scene) {
            let told = (&*incoming, &tally.trail);
            return Box::pin(result_urls::pass(self, client, &scene, answer, told)).await;
        }
        let same = self.voice.is(course.endpoint.dialect);
        let streamed = answer.header("content-type").is_some_and(|kind| kind.contains("event"));
        let framing = if streamed { course.endpoint.framing } else { Framing::Sse };
        match (same, streams && streamed) {
            (true, true) if scene.passes_bytes(framing) => {
                identity::stream(core, client, &scene, answer, tally).await
            }
            (true, true) => reframe::stream(core, client, &scene, answer, framing, tally).await,
            (true, false) => identity::whole(core, client, &scene, answer, tally).await,
            (false, true) => {
                transcode::stream(core, client, &scene, answer, (framing, reply), tally).await
            }
            (false, false) => transcode::whole(core, client, &scene, answer, reply, tally).await,
        }
    }

    /// Sends a body, or where that is `None` the client's own, and waits for the answer's head.
    pub(super) async fn send(
        &self,
        client: &mut ClientConn,
        incoming: &mut Incoming,
        course: &Course<'_>,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, Halt> {
        let own_body = body.is_none();
        let filter = &self.snapshot.client.header_filter;
        let mut parcel = outgoing::parcel(self.core, course, incoming, filter, body)?;
        let origin = &course.endpoint.origin;
        let sent = exchange::send(self.core, client, course.provider, origin, &mut parcel).await;
        if own_body {
            incoming.buf = parcel.buf;
        }
        sent
    }

    /// What the answer to a call is passed on by.
    pub(super) fn scene<'s>(
        &'s self,
        course: &Course<'s>,
        (stream, usage_hidden): (bool, bool),
        loss: &'s Loss,
    ) -> Scene<'s> {
        Scene {
            terms: self.terms,
            provider: course.provider,
            voice: self.voice,
            operation: course.operation,
            client: self.mount.dialect(),
            upstream: course.endpoint.dialect,
            stream,
            heartbeat: self.snapshot.client.heartbeat,
            counters: &self.core.counters,
            loss,
            usage_hidden,
        }
    }

    /// What the upstream's refusal means for the client: its status, message, ids and retry advice.
    pub(super) async fn refused(
        &self,
        client: &mut ClientConn,
        scene: &Scene<'_>,
        mut answer: Answer,
    ) -> Halt {
        self.core.counters.upstream_failures.add(1);
        if let Err(halt) = answer.read_whole(client, scene.provider, 4 << 20).await {
            return halt;
        }
        let failure = Failure::of_upstream(scene, &answer);
        answer.finish(self.core);
        failure.into()
    }

    fn reply(&self, ask: &Ask, request: &crate::chat::Request<'_>, body: &[u8]) -> Reply {
        let request_body = match self.voice.dialect {
            Dialect::OpenAiResponses => String::from_utf8_lossy(body).into_owned(),
            _ => String::new(),
        };
        Reply {
            model: ask.model.clone(),
            id: self.request_id.to_owned(),
            created: own::unix_seconds(),
            include_usage: request.include_usage,
            request_body,
            ..Reply::default()
        }
    }
}

/// Whether the answer is asked for event by event.
fn streams(course: &Course<'_>, ask: &Ask) -> bool {
    ask.stream && course.operation.converses()
}
