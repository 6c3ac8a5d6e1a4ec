package guard

// Check judges the address dialled for host, without a packet being sent.
func Check(g *Guard, host, dialled string) error { return g.check(host, dialled) }
