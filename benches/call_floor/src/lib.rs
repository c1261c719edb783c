//! What a call of `handler(context, event)` from Rust costs and nothing else: no event is made, no
//! answer is looked at. Below this no Python runtime of this kind can go.
#![forbid(unsafe_code)]

#[pyo3::pymodule]
mod call_floor {
    use pyo3::prelude::*;

    /// Calls `handler(context, event)` so many times with the same two objects.
    #[pyfunction]
    fn call(
        handler: &Bound<'_, PyAny>,
        context: &Bound<'_, PyAny>,
        event: &Bound<'_, PyAny>,
        times: u32,
    ) -> PyResult<()> {
        for _ in 0..times {
            handler.call1((context, event))?;
        }
        Ok(())
    }
}
