//! Routes that take a key, and what each of them asks of it.
//!
//! A route is added together with what it needs, which is then checked before its handler is called, and documented: one
//! that was forgotten does not compile, and what would get around this finds no [`Caller`](crate::auth::Caller).

use std::sync::Arc;

use axum::http::Method;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter};

use crate::app::App;
use crate::route_needs::{Needs, RouteNeeds};

/// Routes below a prefix, each with what it needs.
pub(crate) struct KeyedRoutes {
    prefix: &'static str,
    router: OpenApiRouter<Arc<App>>,
    needs: RouteNeeds,
}

impl KeyedRoutes {
    pub(crate) fn below(prefix: &'static str) -> Self {
        Self { prefix, router: OpenApiRouter::new(), needs: RouteNeeds::default() }
    }

    /// Adds what `routes!` makes of one handler.
    pub(crate) fn add(
        mut self,
        needs: Needs,
        (schemas, mut paths, handlers): UtoipaMethodRouter<Arc<App>>,
    ) -> Self {
        for (path, item) in &mut paths.paths {
            let template = format!("{}{path}", self.prefix);
            for (method, operation) in operations(item) {
                needs.document(operation);
                self.needs.declare(method, &template, needs);
            }
        }
        let router = self.router.routes((schemas, paths, handlers));
        Self { router, ..self }
    }

    pub(crate) fn into_parts(self) -> (OpenApiRouter<Arc<App>>, RouteNeeds) {
        (self.router, self.needs)
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = (Method, &mut Operation)> {
    let all = [
        (Method::GET, &mut item.get),
        (Method::PUT, &mut item.put),
        (Method::POST, &mut item.post),
        (Method::DELETE, &mut item.delete),
        (Method::OPTIONS, &mut item.options),
        (Method::HEAD, &mut item.head),
        (Method::PATCH, &mut item.patch),
        (Method::TRACE, &mut item.trace),
    ];
    all.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}
