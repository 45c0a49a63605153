"""The operations of the API: one mixin per resource, one method per endpoint."""
