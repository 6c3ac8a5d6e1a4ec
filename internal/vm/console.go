package vm

// Call asks an agent to connect the console of one of its VMs to who waits for
// it. It is no order: it is forgotten when nobody waits any more.
type Call struct {
	Session  string `json:"session"`             // names who waits; the agent connects once
	VM       string `json:"vm"`                  // its id
	Log      bool   `json:"log,omitempty"`       // only the end of what it wrote is wanted
	ReadOnly bool   `json:"read_only,omitempty"` // who waits doesn't want to write
	Take     bool   `json:"take,omitempty"`      // who waits wants to write in the place of who does
}
