package agent

// WithFault returns c with a folder in which fault may make any step fail that
// changes the disk.
func WithFault(c Config, fault func(step string) error) Config {
	c.fault = fault
	return c
}
