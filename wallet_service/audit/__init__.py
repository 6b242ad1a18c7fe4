"""Looking over the books as a whole: proofs for operators, never in the way of a call."""
