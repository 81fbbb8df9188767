"""The child's side: what holds weights. Only this layer imports a tensor library."""
