//! `Event`: what a handler gets, read from the shared memory only where it looks.
//!
//! While the handler runs an event reads its slot. When the handler has returned and somebody still
//! has the event, header and body are copied out (`escape`), so a kept event stays right for ever.
//!
//! Under an event's lock only `str`, `bytes` and `int` objects are made: making those never runs
//! Python code, so the lock is never met twice and the slot cannot change hands in the middle.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use pyo3::{PyTraverseError, PyVisit, intern};
use rings::abi::{EventHeader, event_flag};
use rings::header::EventView;
use shim::{Body, Extra, extra};

use crate::body::{self, BODY_COPIES, BODY_GATHERS, BODY_VIEWS, BodyStream, gather};
use crate::fields::percent_decoded;
use crate::hold::{Hold, Pin};
use crate::render::sdk_function;
use crate::strings::{self, string};
use crate::{buffer, cloud, link, made, values};

/// See the module.
#[pyclass(name = "Event", module = "nuclio_sdk", frozen, dict, subclass)]
pub struct Event {
    state: Mutex<State>,
}

/// Everything an event can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Field {
    Body,
    ContentType,
    Trigger,
    Fields,
    Headers,
    Id,
    Method,
    Path,
    Size,
    Timestamp,
    Time,
    Url,
    ShardId,
    NumShards,
    Type,
    TypeVersion,
    Version,
    LastInBatch,
    Offset,
    Topic,
    Key,
    Partition,
    Attempt,
    Deadline,
}

const FIELD_COUNT: usize = Field::Deadline as usize + 1;

/// Method number of HEAD.
const HEAD: u8 = 2;

/// Values that were set, or made once and kept.
type Cells = [Option<Py<PyAny>>; FIELD_COUNT];

#[derive(Default)]
pub struct State {
    pub source: Source,
    /// Body bytes as given out, so that an answer that is this very object needs no copy.
    pub raw: Option<Py<PyBytes>>,
    /// The pieces of a body that was not read as a whole.
    pub stream: Option<Py<BodyStream>>,
    hold: Option<Arc<Hold>>,
    cells: Option<Box<Cells>>,
    /// Whether this is a CloudEvent has been looked at.
    looked: bool,
}

/// Where the fields come from.
#[derive(Default)]
pub enum Source {
    /// A slot that is held.
    Slot(shim::Event),
    /// The copied header, and what the entry said; the body is in `raw`.
    Copy { header: Box<[u8]>, trigger: u16, deadline_ns: u64, attempt: u32 },
    /// Python made it; only cells.
    #[default]
    Made,
}

impl State {
    fn view(&self) -> Option<EventView<'_>> {
        match &self.source {
            Source::Slot(event) => Some(event.view()),
            Source::Copy { header, .. } => EventView::new(header),
            Source::Made => None,
        }
    }

    fn header(&self) -> Option<(EventView<'_>, EventHeader)> {
        self.view().map(|view| (view, view.header()))
    }

    /// The body as one object, made at most once.
    fn raw<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        if let Some(raw) = &self.raw {
            return Ok(raw.bind(py).clone());
        }
        let Source::Slot(event) = &self.source else { return Ok(PyBytes::new(py, b"")) };
        BODY_COPIES.fetch_add(1, Ordering::Relaxed);
        let raw = match event.body() {
            Body::Whole(bytes) => PyBytes::new(py, bytes),
            Body::Pieces(pieces) => PyBytes::new_with(py, event.body_bytes(), |whole| {
                gather(&pieces, whole);
                Ok(())
            })?,
        };
        self.raw = Some(raw.clone().unbind());
        Ok(raw)
    }

    pub fn has_unread_stream(&self) -> bool {
        self.raw.is_none()
            && self.header().is_some_and(|(_, h)| h.flags & event_flag::BODY_STREAMED != 0)
    }

    fn is_cloud_body(&self) -> bool {
        self.header().is_some_and(|(view, h)| cloud::is_in_body(view.get(h.content_type)))
    }

    /// True at most until its fields are read.
    fn is_unread_cloud_event(&mut self) -> bool {
        if self.looked {
            return false;
        }
        self.looked = true;
        self.header().is_some_and(|(view, header)| cloud::is_one(&view, &header))
    }

    fn is_json(&self) -> bool {
        self.header().is_some_and(|(view, h)| view.get(h.content_type) == b"application/json")
    }

    /// Fields that are made of the header in one step; `None` if there is no header.
    fn simple<'py>(&self, py: Python<'py>, field: Field) -> Option<Bound<'py, PyAny>> {
        let (view, header) = self.header()?;
        let string = |bytes: &[u8]| string(py, bytes);
        let (attempt, deadline_ns) = match &self.source {
            Source::Slot(event) => (event.attempt(), event.deadline_ns()),
            Source::Copy { attempt, deadline_ns, .. } => (*attempt, *deadline_ns),
            Source::Made => return None,
        };
        Some(match field {
            Field::ContentType => string(view.get(header.content_type)),
            Field::Id => string(shim::id_of(view).as_bytes()),
            Field::Method => values::method(py, &view, &header),
            Field::Path => string(&percent_decoded(view.get(header.path), false)),
            Field::Url => values::url(py, &view, &header),
            Field::Topic => string(view.get(header.topic)),
            Field::Key if header.key.length == 0 => py.None().into_bound(py),
            Field::Key => PyBytes::new(py, view.get(header.key)).into_any(),
            Field::Size => values::number(py, u64::from(header.body_bytes)),
            Field::ShardId => values::number(py, u64::from(header.shard)),
            Field::Offset => values::number(py, header.offset),
            Field::Partition => values::number(py, u64::from(header.partition)),
            Field::Attempt => values::number(py, u64::from(attempt)),
            Field::LastInBatch => values::truth(py, header.flags & event_flag::LAST_IN_BATCH != 0),
            Field::Deadline if deadline_ns == 0 => py.None().into_bound(py),
            Field::Deadline => values::seconds(py, deadline_ns),
            Field::NumShards => match extra(view.get(header.ext), "num_shards") {
                Some(Extra::Number(shards)) => values::number(py, shards),
                _ => values::number(py, 0),
            },
            Field::Type | Field::TypeVersion | Field::Version => {
                match extra(view.get(header.ext), field.name()) {
                    Some(Extra::Text(bytes)) => string(bytes),
                    _ => string(b""),
                }
            }
            Field::Body
            | Field::Trigger
            | Field::Fields
            | Field::Headers
            | Field::Timestamp
            | Field::Time => return None,
        })
    }
}

impl Event {
    /// An event whose slot this worker holds.
    #[inline]
    pub fn of_slot(event: shim::Event) -> Self {
        let source = Source::Slot(event);
        Self { state: Mutex::new(State { source, ..State::default() }) }
    }

    /// An event of a test: header and body as a slot would hold them.
    pub fn of_copy(header: Box<[u8]>, body: Py<PyBytes>, deadline_ns: u64, attempt: u32) -> Self {
        let source = Source::Copy { header, trigger: 0, deadline_ns, attempt };
        Self { state: Mutex::new(State { source, raw: Some(body), ..State::default() }) }
    }

    #[inline]
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a field is now.
    pub fn read<'py>(slf: &Bound<'py, Self>, field: Field) -> PyResult<Bound<'py, PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        {
            let mut state = this.lock();
            let kept = state.cells.as_ref().and_then(|cells| cells[field as usize].as_ref());
            if let Some(value) = kept {
                return Ok(value.bind(py).clone());
            }
            if cloud::changes(field) && state.is_unread_cloud_event() {
                drop(state);
                Self::read_cloud_event(slf)?;
                return Self::read(slf, field);
            }
            if let Some(value) = state.simple(py, field) {
                return Ok(value);
            }
        }
        Self::compute(slf, field)
    }

    /// Sets the fields of a CloudEvent, once.
    fn read_cloud_event(slf: &Bound<'_, Self>) -> PyResult<()> {
        let is_in_body = slf.get().lock().is_cloud_body();
        if is_in_body {
            body::ensure_whole(slf)?;
        }
        let body = {
            let mut state = slf.get().lock();
            state.looked = true;
            if state.is_cloud_body() { Some(state.raw(slf.py())?) } else { None }
        };
        cloud::read(slf, body)
    }

    /// All CloudEvents in it.
    fn cloud_events<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        if slf.get().lock().is_unread_cloud_event() {
            Self::read_cloud_event(slf)?;
        }
        cloud::all(slf)
    }

    /// Sets a field, as on any Python object.
    pub fn write(&self, field: Field, value: Py<PyAny>) {
        let mut value = Some(value);
        let mut state = self.lock();
        let cells = state.cells.get_or_insert_with(|| Box::new([const { None }; FIELD_COUNT]));
        std::mem::swap(&mut cells[field as usize], &mut value);
        // The old value may run Python code when it goes, so it must not go under the lock.
        drop(state);
        drop(value);
    }

    /// Fields that need more than the header, and are kept once made.
    fn compute<'py>(slf: &Bound<'py, Self>, field: Field) -> PyResult<Bound<'py, PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        let value = match field {
            Field::Body => return Self::body(slf),
            Field::Trigger => this.trigger(py)?,
            Field::Headers => {
                let lines = this.lock().view().map(|view| values::header_lines(py, &view));
                values::headers(py, lines.unwrap_or_default())?
            }
            Field::Fields => {
                let pairs =
                    this.lock().header().map(|(view, h)| values::query(py, view.get(h.query)));
                values::fields(py, pairs.unwrap_or_default())?
            }
            Field::Timestamp | Field::Time => {
                let unix_ns = this.lock().header().map(|(_, h)| h.timestamp_ns);
                match unix_ns {
                    Some(unix_ns) => values::datetime(py, unix_ns, field == Field::Time)?,
                    None => made::default(py, field)?,
                }
            }
            _ => made::default(py, field)?,
        };
        this.write(field, value.clone().unbind());
        Ok(value)
    }

    fn trigger<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let number = match &self.lock().source {
            Source::Slot(event) => Some(event.trigger()),
            Source::Copy { trigger, .. } => Some(*trigger),
            Source::Made => None,
        };
        match number.and_then(|number| link::trigger(py, number)) {
            Some(trigger) if strings::are_raw() => {
                let raw = trigger.bind(py).borrow().of_event(py)?;
                Ok(Bound::new(py, raw)?.into_any())
            }
            Some(trigger) => Ok(trigger.into_bound(py).into_any()),
            None => made::default(py, Field::Trigger),
        }
    }

    /// The body: an object if it is JSON by its content type and by its bytes, else `bytes`.
    fn body<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        body::ensure_whole(slf)?;
        let raw = {
            let mut state = this.lock();
            match (&state.source, &state.raw) {
                (Source::Made, None) => return Ok(py.None().into_bound(py)),
                _ if !state.is_json() => {
                    if state.looked || !state.is_cloud_body() {
                        return Ok(state.raw(py)?.into_any());
                    }
                    drop(state);
                    Self::read_cloud_event(slf)?;
                    return Self::read(slf, Field::Body);
                }
                _ => state.raw(py)?,
            }
        };
        let value = match values::json(py, &raw) {
            Some(value) => value,
            None => raw.into_any(),
        };
        this.write(Field::Body, value.clone().unbind());
        Ok(value)
    }

    /// The body without a copy.
    pub fn view<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let (py, this) = (slf.py(), slf.get());
        body::ensure_whole(slf)?;
        let in_place = {
            let mut state = this.lock();
            match &state.source {
                Source::Slot(event) if !event.is_body_streamed() => {
                    BODY_VIEWS.fetch_add(1, Ordering::Relaxed);
                    let (range, claim) = (event.body_range(), event.claim());
                    let hold = state.hold.get_or_insert_with(|| Hold::new(claim));
                    range.filter(|_| hold.begin()).map(|range| (range, Pin(Arc::clone(hold))))
                }
                _ => None,
            }
        };
        if let Some((range, pin)) = in_place {
            return Ok(buffer::view_of(py, range, &pin)?.into_any());
        }
        let bytes = {
            let mut state = this.lock();
            match &state.source {
                Source::Made => None,
                _ => {
                    BODY_GATHERS.fetch_add(u64::from(state.raw.is_none()), Ordering::Relaxed);
                    Some(state.raw(py)?.into_any())
                }
            }
        };
        match bytes {
            Some(bytes) => Ok(pyo3::types::PyMemoryView::from(&bytes)?.into_any()),
            None => made::view(&Self::read(slf, Field::Body)?),
        }
    }

    /// Where in the event's own body `result` lies, if it is this very memory or object.
    pub fn place_of_bytes(&self, result: &Bound<'_, PyBytes>) -> Option<(u32, u32)> {
        let state = self.lock();
        let whole = state.raw.as_ref().is_some_and(|raw| raw.is(result));
        match &state.source {
            Source::Slot(event) if whole => Some((0, event.body_bytes() as u32)),
            _ => None,
        }
    }

    /// As `place_of_bytes`, for a view: `bytes` is what it looks at.
    pub fn place_of_view(&self, bytes: &[u8]) -> Option<(u32, u32)> {
        let Source::Slot(event) = &self.lock().source else { return None };
        let body = event.body_range()?.as_ptr_range();
        let part = bytes.as_ptr_range();
        if bytes.is_empty() || part.start < body.start || part.end > body.end {
            return None;
        }
        let offset = part.start as usize - body.start as usize;
        Some((u32::try_from(offset).ok()?, u32::try_from(bytes.len()).ok()?))
    }

    /// Copies out what the slot holds, for whoever kept the event.
    pub fn escape(&self, py: Python<'_>) -> PyResult<()> {
        let mut state = self.lock();
        if !state.has_unread_stream() {
            state.raw(py)?;
        }
        if let Source::Slot(event) = &state.source {
            state.source = Source::Copy {
                header: event.header_bytes().into(),
                trigger: event.trigger(),
                deadline_ns: event.deadline_ns(),
                attempt: event.attempt(),
            };
        }
        Ok(())
    }

    /// The client asked for a head only.
    pub fn is_head(&self) -> bool {
        self.lock().header().is_some_and(|(_, header)| header.method == HEAD)
    }

    /// The hold, if a view was ever given out.
    #[inline]
    pub fn hold(&self) -> Option<Arc<Hold>> {
        self.lock().hold.clone()
    }

    /// The first header of this name.
    fn header<'py>(
        slf: &Bound<'py, Self>,
        name: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (this, py) = (slf.get(), slf.py());
        let wanted = made::name_bytes(name)?;
        {
            let state = this.lock();
            let set = state.cells.as_ref().is_some_and(|c| c[Field::Headers as usize].is_some());
            if let Some(view) = state.view().filter(|_| !set) {
                let mut lines = view.lines().filter(|(n, _)| n.eq_ignore_ascii_case(&wanted));
                return Ok(match lines.next() {
                    Some((_, value)) => string(py, value),
                    None => py.None().into_bound(py),
                });
            }
        }
        made::header(&Self::read(slf, Field::Headers)?, &wanted)
    }

    fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // What cannot be seen now counts as reachable, which is safe.
        let Ok(state) = self.state.try_lock() else { return Ok(()) };
        let mut cells = state.cells.iter().flat_map(|cells| cells.iter().flatten());
        cells.try_for_each(|value| visit.call(value))
    }

    fn forget(&self) {
        let cells = self.state.try_lock().ok().and_then(|mut state| state.cells.take());
        drop(cells);
    }
}

/// The class as Python sees it: every field can be read and, as in nuclio, set.
macro_rules! event_class {
    ($($get:ident $set:ident $field:ident $name:literal;)*) => {
        impl Field {
            /// The attribute.
            pub const fn name(self) -> &'static str {
                match self { $(Field::$field => $name,)* }
            }
        }

        /// Every field, in the order in which nuclio lists them.
        pub const FIELDS: [Field; FIELD_COUNT] = [$(Field::$field),*];

        #[pymethods]
        impl Event {
            $(
                #[getter]
                #[pyo3(name = $name)]
                #[inline]
                fn $get<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                    Self::read(slf, Field::$field)
                }

                #[setter]
                #[pyo3(name = $name)]
                fn $set(&self, value: Py<PyAny>) {
                    self.write(Field::$field, value);
                }
            )*

            #[new]
            #[pyo3(signature = (*_args, **_kwargs))]
            fn new(
                _args: &Bound<'_, pyo3::types::PyTuple>,
                _kwargs: Option<&Bound<'_, pyo3::types::PyDict>>,
            ) -> Self {
                Self { state: Mutex::default() }
            }

            #[pyo3(signature = (*args, **kwargs))]
            fn __init__(
                slf: &Bound<'_, Self>,
                args: &Bound<'_, pyo3::types::PyTuple>,
                kwargs: Option<&Bound<'_, pyo3::types::PyDict>>,
            ) -> PyResult<()> {
                made::init(slf, args, kwargs)
            }

            /// The body as a read-only memoryview; no copy unless its memory is in pieces.
            #[getter]
            fn body_view<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                Event::view(slf)
            }

            /// The pieces of the body, while they come: an iterator, or in an async handler an
            /// async one.
            #[getter]
            fn body_stream<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, BodyStream>> {
                Event::stream(slf)
            }

            /// The first header of this name, whatever its case; None if there is none.
            fn get_header<'py>(
                slf: &Bound<'py, Self>,
                header_key: &Bound<'py, PyAny>,
            ) -> PyResult<Bound<'py, PyAny>> {
                Self::header(slf, header_key)
            }

            /// The CloudEvent that this event is; None for other events and for a batch.
            #[getter]
            fn cloudevent<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                let all = Self::cloud_events(slf)?;
                if all.len()? == 1 { all.get_item(0) } else { Ok(slf.py().None().into_bound(slf.py())) }
            }

            /// Every CloudEvent in it: none, one, or those of a batch.
            #[getter]
            fn cloudevents<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                Self::cloud_events(slf)
            }

            /// The event as JSON text; a body of bytes is in base64.
            fn to_json<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                let py = slf.py();
                py.import(intern!(py, "nuclio_sdk._event"))?
                    .getattr(intern!(py, "to_json"))?
                    .call1((slf,))
            }

            /// An event of a message in nuclio's form; `kind` is an `EventDeserializerKinds`.
            #[staticmethod]
            #[pyo3(signature = (data, kind = None))]
            fn deserialize<'py>(
                data: &Bound<'py, PyAny>,
                kind: Option<&Bound<'py, PyAny>>,
            ) -> PyResult<Bound<'py, PyAny>> {
                let name = intern!(data.py(), "deserialize");
                let function = sdk_function(data.py(), "nuclio_sdk.event", name)?;
                match kind {
                    Some(kind) => function.call1((data, kind)),
                    None => function.call1((data,)),
                }
            }

            /// The message by which nuclio's processor is told that this record is done.
            fn compile_explicit_ack_message<'py>(
                slf: &Bound<'py, Self>,
            ) -> PyResult<Bound<'py, PyAny>> {
                let py = slf.py();
                let class = intern!(py, "QualifiedOffset");
                sdk_function(py, "nuclio_sdk.qualified_offset", class)?
                    .call_method1(intern!(py, "from_event"), (slf,))?
                    .call_method0(intern!(py, "compile_explicit_ack_message"))
            }

            fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
                Self::to_json(slf)
            }

            fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
                self.visit(&visit)
            }

            fn __clear__(&self) {
                self.forget();
            }
        }
    };
}

event_class! {
    get_body set_body Body "body";
    get_content_type set_content_type ContentType "content_type";
    get_trigger set_trigger Trigger "trigger";
    get_fields set_fields Fields "fields";
    get_headers set_headers Headers "headers";
    get_id set_id Id "id";
    get_method set_method Method "method";
    get_path set_path Path "path";
    get_size set_size Size "size";
    get_timestamp set_timestamp Timestamp "timestamp";
    get_time set_time Time "time";
    get_url set_url Url "url";
    get_shard_id set_shard_id ShardId "shard_id";
    get_num_shards set_num_shards NumShards "num_shards";
    get_type set_type Type "type";
    get_type_version set_type_version TypeVersion "type_version";
    get_version set_version Version "version";
    get_last_in_batch set_last_in_batch LastInBatch "last_in_batch";
    get_offset set_offset Offset "offset";
    get_topic set_topic Topic "topic";
    get_key set_key Key "key";
    get_partition set_partition Partition "partition";
    get_attempt set_attempt Attempt "attempt";
    get_deadline set_deadline Deadline "deadline";
}
