package image

// Waiting returns how many calls of Get wait for address.
func Waiting(c *Cache, address string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.flights[Request{URL: address}.key(false)]
	if f == nil {
		return 0
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.waiters)
}
