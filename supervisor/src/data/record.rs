//! Copies of events for `--record`, made when they come and when they are answered.
//!
//! Only memory is touched here: the record thread makes text of it and writes.

use rings::abi::uuid_text;
use rings::header::EventView;

use super::inflight::EventKey;
use super::reactor::Data;
use crate::record::EventCopy;

impl Data {
    /// An event has come and waits for its worker.
    pub fn record_event(&mut self, key: EventKey) {
        let Some(recorder) = &self.recorder else { return };
        let Some(event) = self.events.get_mut(key) else { return };
        if event.incoming.is_some() {
            // Its body is never in memory as a whole.
            recorder.leave_out();
            return;
        }
        let bytes = event.header_bytes as usize + event.body_bytes as usize;
        if !recorder.wants(bytes) {
            return;
        }
        let slot = self.slots.bytes(event.header);
        let Some(view) = EventView::new(slot) else { return };
        let header = view.header();
        // The request's own head lies behind everything that we wrote.
        let head_at = (header.ext.offset + header.ext.length) as usize;
        let head = slot.get(head_at..event.header_bytes as usize).unwrap_or_default().to_vec();
        let mut body = Vec::with_capacity(event.body_bytes as usize);
        if event.body.is_empty() {
            let at = event.body_inline_at as usize;
            body.extend_from_slice(&slot[at..at + event.body_bytes as usize]);
        }
        for slot in &event.body {
            let slot = self.slots.bytes(*slot);
            let left = event.body_bytes as usize - body.len();
            body.extend_from_slice(&slot[..left.min(slot.len())]);
        }
        let trigger = &self.triggers[event.trigger as usize];
        event.is_recorded = recorder.event(Box::new(EventCopy {
            id: uuid_text(&event.token),
            time_ns: header.timestamp_ns,
            trigger: trigger.name.clone(),
            kind: trigger.kind.clone(),
            head,
            body,
        }));
    }

    /// An event is answered with this status; what follows on it is no second answer.
    pub fn record_answer(&mut self, key: EventKey, status: u16) {
        let Some(recorder) = &self.recorder else { return };
        if let Some(event) = self.events.get_mut(key)
            && std::mem::take(&mut event.is_recorded)
        {
            recorder.answer(uuid_text(&event.token), status);
        }
    }
}
