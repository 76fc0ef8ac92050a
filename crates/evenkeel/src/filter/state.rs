//! What the filters of a route keep of one request.

use std::any::Any;
use std::fmt;

/// What the filters of a route keep of one request: each filter has at most one value, which only it can see. The value is
/// there from [`Filter::on_request`](super::Filter::on_request) until the request ends, however it ends, and is dropped then.
/// So a permit in it is given back at the end of the request.
///
/// While no filter keeps anything, it allocates nothing.
#[derive(Default)]
pub struct State {
    /// The filter that sees it now, by its place in the route.
    filter: usize,
    kept: Vec<(usize, Box<dyn Any + Send + Sync>)>,
}

// === impl State ===

impl State {
    /// Keeps a value, in place of the one before.
    pub fn set<T: Any + Send + Sync>(&mut self, value: T) {
        let value: Box<dyn Any + Send + Sync> = Box::new(value);
        match self.kept.iter_mut().find(|(filter, _)| *filter == self.filter) {
            Some((_, kept)) => *kept = value,
            None => self.kept.push((self.filter, value)),
        }
    }

    /// The value that this filter keeps, if it is of this type.
    pub fn get<T: Any>(&self) -> Option<&T> {
        let (_, kept) = self.kept.iter().find(|(filter, _)| *filter == self.filter)?;
        kept.downcast_ref()
    }

    /// The same, to be changed.
    pub fn get_mut<T: Any>(&mut self) -> Option<&mut T> {
        let (_, kept) = self.kept.iter_mut().find(|(filter, _)| *filter == self.filter)?;
        kept.downcast_mut()
    }

    /// Takes out the value that this filter keeps, if it is of this type.
    pub fn take<T: Any>(&mut self) -> Option<T> {
        let of_this =
            |(filter, kept): &(usize, Box<dyn Any + Send + Sync>)| *filter == self.filter && kept.is::<T>();
        let at = self.kept.iter().position(of_this)?;
        let (_, kept) = self.kept.swap_remove(at);
        kept.downcast().ok().map(|kept| *kept)
    }

    /// From here on, the filter at this place of the route sees it.
    pub(crate) fn turn_to(&mut self, filter: usize) {
        self.filter = filter;
    }
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.kept.iter().map(|(filter, _)| filter)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::State;
    use std::sync::Arc;

    #[test]
    fn each_filter_sees_its_own_value() {
        let mut state = State::default();
        state.turn_to(0);
        state.set(1_u8);
        state.turn_to(1);
        assert_eq!(state.get::<u8>(), None);
        state.set("one".to_owned());
        state.set("two".to_owned());
        assert_eq!((state.get::<String>().map(String::as_str), state.get::<u8>()), (Some("two"), None));
        assert_eq!(state.take::<u8>(), None, "of another type");
        assert_eq!(state.take::<String>(), Some("two".to_owned()));
        assert_eq!(state.take::<String>(), None);
        state.turn_to(0);
        *state.get_mut::<u8>().unwrap() += 1;
        assert_eq!(state.get(), Some(&2_u8));
    }

    #[test]
    fn what_is_kept_is_dropped_with_it() {
        let permit = Arc::new(());
        let mut state = State::default();
        state.set(permit.clone());
        state.set(permit.clone());
        assert_eq!(Arc::strong_count(&permit), 2);
        drop(state);
        assert_eq!(Arc::strong_count(&permit), 1);
    }
}
