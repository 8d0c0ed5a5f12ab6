"""All that is published of the contracts, from one source: schemas, samples, AsyncAPI, pages. And the gate that guards it."""
