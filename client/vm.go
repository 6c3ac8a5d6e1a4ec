package client

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The statuses of a VM.
const (
	StatusNew               = "New"               // accepted, the deposit is reserved
	StatusLaunching         = "Launching"         // being prepared and booted
	StatusActive            = "Active"            // reachable
	StatusSmallBalance      = "SmallBalance"      // runs, but the balance carries no further epoch
	StatusInsufficientFunds = "InsufficientFunds" // powered off for want of money, the disk is kept
	StatusTerminated        = "Terminated"        // ended by the provider or for want of money
	StatusStopped           = "Stopped"           // ended by its owner
	StatusFailed            = "Failed"            // never became Active; the money is back
)

// The powers of a VM.
const (
	PowerOn       = "on"
	PowerStopping = "stopping" // it is to be powered off, and its server has not seen it so yet
	PowerOff      = "off"
)

// Ended reports whether a VM of this status will not run again.
func Ended(status string) bool {
	return status == StatusTerminated || status == StatusStopped || status == StatusFailed
}

// Port is open to the public.
type Port struct {
	Port     int    `json:"port"`
	Protocol string `json:"protocol"` // tcp or udp
}

// Payment is what a VM waits for that is short of money.
type Payment struct {
	Missing string    `json:"missing"` // USDC that the balance has too little for it to go on
	Until   time.Time `json:"until"`   // until when it goes on as it is
	Then    string    `json:"then"`    // its status after that: StatusInsufficientFunds or StatusTerminated
}

// Wait is something that a VM waits for.
type Wait struct {
	For   string     `json:"for"` // such as launch, operation, money; nothing for a VM that has ended
	Why   string     `json:"why"`
	Since time.Time  `json:"since"`
	Until *time.Time `json:"until"` // when somebody acts; nil for a VM that has ended
	Next  string     `json:"next"`  // what is tried until then, and done then
}

// VM is a virtual machine. Reason, Deadline, Payment, UnreachableSince, DrainedAt,
// Hostname, SSHHostKeys and Timeline come with [Client.VM] and [Client.WaitVM] alone.
type VM struct {
	ID               string            `json:"id"`
	Name             string            `json:"vmName"`
	Status           string            `json:"status"`
	Reason           string            `json:"reason,omitempty"`          // why it has this status
	Deadline         *time.Time        `json:"deadline,omitzero"`         // when the cloud gives a waiting status up
	Waiting          *Wait             `json:"waiting,omitzero"`          // nil for a VM that is as it should be; of several, what is over first
	AlsoWaiting      []Wait            `json:"alsoWaiting,omitempty"`     // the others
	Payment          *Payment          `json:"payment,omitzero"`          // what it waits for when it is short of money
	UnreachableSince *time.Time        `json:"unreachableSince,omitzero"` // when its server was heard last, once that is too long ago; it runs on
	DrainedAt        *time.Time        `json:"drainedAt,omitzero"`        // when its provider will end it, with all that is on its server
	PublicIP         *string           `json:"publicIp"`                  // nil while it has none
	Hostname         string            `json:"hostname,omitempty"`
	PortsTag         string            `json:"portsEtag,omitempty"`        // names the open ports, see PortChange
	PortsRevertAt    *time.Time        `json:"portsRevertAt,omitzero"`     // when they are changed back unless confirmed; nil for never
	Power            string            `json:"power,omitempty"`            // PowerOn, PowerStopping or PowerOff
	PriceOff         Amount            `json:"pricePowerOff,omitempty"`    // per epoch while it is powered off
	NextPrice        *Amount           `json:"nextPricePerEpoch,omitzero"` // from its next epoch on; nil for the same
	KeptUntil        *time.Time        `json:"keptUntil,omitzero"`         // of a deleted one: until when it can be undeleted
	Protected        bool              `json:"protected,omitempty"`        // it can't be deleted until it is unprotected
	Labels           map[string]string `json:"labels,omitempty"`
	Operation        string            `json:"operation,omitempty"`      // id of the operation that goes on, "" for none
	AllowedActions   []string          `json:"allowedActions,omitempty"` // what can be done to it now
	Ports            []Port            `json:"ports"`
	OSImage          string            `json:"osImage"`
	Datacenter       Datacenter        `json:"datacenter"`
	Resources        []VMResource      `json:"resources"`
	PricePerEpoch    Amount            `json:"pricePerEpoch"`
	ReservedBalance  Amount            `json:"reservedBalance"`
	TotalSpent       Amount            `json:"totalSpent"`
	CreatedAt        time.Time         `json:"createdAt"`
	StatusChangedAt  time.Time         `json:"statusChangedAt"`
	NextBillingAt    *time.Time        `json:"nextBillingAt"`
	TerminatedAt     *time.Time        `json:"terminatedAt"`
	SSHHostKeys      []HostKey         `json:"sshHostKeys,omitempty"`
	Disk             *OwnDisk          `json:"disk,omitempty"`           // which one it has
	Rescue           *Rescued          `json:"rescue,omitempty"`         // nil unless it is in rescue
	RescueHostKeys   []HostKey         `json:"rescueHostKeys,omitempty"` // of the rescue system
	Timeline         []Event           `json:"timeline,omitempty"`       // oldest first
}

// OwnDisk names the disk that a VM has.
type OwnDisk struct {
	Number int64      `json:"number"`
	Since  *time.Time `json:"since"` // when it last came to run on another disk; nil for never
}

// Rescued is what a VM in rescue runs.
type Rescued struct {
	Since time.Time `json:"since"`
	Image string    `json:"image"`
}

// HostKey is a key by which a VM's SSH server is known, as its guest printed it at
// its first boot.
type HostKey struct {
	Type        string `json:"type"`        // such as ssh-ed25519
	Fingerprint string `json:"fingerprint"` // SHA256:…, as ssh shows it
	PublicKey   string `json:"publicKey"`   // type and base64
}

// VMResource is what a VM has of a resource: VCPU and PUBLIC_IP by number, RAM
// and STORAGE in Units.
type VMResource struct {
	Type     string         `json:"type"`
	Supply   int64          `json:"supply"`
	Units    string         `json:"units"`
	Quantity int64          `json:"quantity"`
	Details  map[string]any `json:"details"`
	Metadata map[string]any `json:"metadata"`
}

// Event is one line of a VM's story.
type Event struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// Address returns the public address, "" while there is none.
func (v VM) Address() string {
	if v.PublicIP == nil {
		return ""
	}
	return *v.PublicIP
}

// Supply returns how much the VM has of a type of resource.
func (v VM) Supply(resource string) int64 {
	for _, r := range v.Resources {
		if r.Type == resource {
			return max(r.Supply, r.Quantity)
		}
	}
	return 0
}

// Deployment asks for VMs: all instances or none.
type Deployment struct {
	Constraints Constraints     `json:"constraints,omitzero"`
	Instances   int             `json:"instances"`
	RequestID   string          `json:"requestId,omitempty"` // the same one again gets the first answer again
	VM          VMConfiguration `json:"vmConfiguration"`
}

// VMConfiguration is what is to run.
type VMConfiguration struct {
	Name     string   `json:"name"`
	Hostname string   `json:"hostname,omitempty"` // the name unless given
	Ports    []Port   `json:"openPorts,omitempty"`
	OSImage  string   `json:"osImage"` // URL
	SSHKeys  []string `json:"sshKeys"` // public key lines, names or fingerprints
}

// Deployed is one VM that was accepted.
type Deployed struct {
	ID   string `json:"vmId"`
	Name string `json:"vmName"`
}

// ListOptions narrow a list of VMs; the zero value of a member doesn't.
type ListOptions struct {
	Statuses        []string
	Datacenter      string    // slug
	TerminatedSince time.Time // leaves out VMs that ended before
	Labels          string    // a selector such as env=prod,tier!=web,owner,!temp
	Page, PerPage   int       // from page 1
}

// VMStatus is the short form of a VM.
type VMStatus struct {
	ID              string    `json:"id"`
	Status          string    `json:"status"`
	StatusChangedAt time.Time `json:"statusChangedAt"`
	PublicIP        *string   `json:"publicIp"`
}

// Update changes a VM. Members that are not set leave it as it is.
type Update struct {
	ID    string `json:"id"`
	Name  string `json:"vmName,omitempty"`
	Ports []Port `json:"openPorts,omitzero"` // the whole set; empty but not nil closes all
}

// Deploy asks for VMs and returns once they are accepted, before they run.
// With a RequestID it is repeated when no answer comes.
func (c *Client) Deploy(ctx context.Context, d Deployment) ([]Deployed, error) {
	return c.deploy(ctx, "/vms/v3", d.RequestID, d)
}

// VMs returns the account's VMs, oldest first.
func (c *Client) VMs(ctx context.Context, o ListOptions) ([]VM, error) {
	query := url.Values{}
	set := func(key, value string) {
		if value != "" {
			query.Set(key, value)
		}
	}
	set("status", strings.Join(o.Statuses, ","))
	set("dcSlug", o.Datacenter)
	set("label", o.Labels)
	if !o.TerminatedSince.IsZero() {
		set("terminatedAt", o.TerminatedSince.UTC().Format(time.RFC3339))
	}
	if o.Page > 0 {
		set("pagination[page]", strconv.Itoa(o.Page))
	}
	if o.PerPage > 0 {
		set("pagination[per_page]", strconv.Itoa(o.PerPage))
	}
	return get[[]VM](ctx, c, "/v1/vms", query)
}

// VM returns one VM with its timeline.
func (c *Client) VM(ctx context.Context, id string) (VM, error) {
	return get[VM](ctx, c, "/v1/vms/"+url.PathEscape(id), nil)
}

// How long the server is asked to hold a request of WaitVM, and how long one
// round takes at least, should it not hold it.
const (
	longWait  = 25 * time.Second
	shortWait = time.Second // while somebody watches
	minRound  = shortWait / 4
)

// WaitVM returns the VM as soon as it has the status, or has ended and can't
// have it any more: look at the Status it is returned with. The functions watch
// are given what every answer says, about once a second.
func (c *Client) WaitVM(ctx context.Context, id, status string, watch ...func(VM)) (VM, error) {
	wait := longWait
	if len(watch) > 0 {
		wait = shortWait
	}
	query := url.Values{"wait": {status}, "timeout": {wait.String()}}
	for {
		round := time.NewTimer(minRound)
		v, err := get[VM](ctx, c, "/v1/vms/"+url.PathEscape(id), query)
		if err != nil {
			return v, err
		}
		for _, w := range watch {
			w(v)
		}
		if v.Status == status || Ended(v.Status) {
			return v, nil
		}
		select {
		case <-round.C:
		case <-ctx.Done():
			return v, ctx.Err()
		}
	}
}

// VMStatuses returns the short form of the VMs with these ids; unknown ones
// are left out.
func (c *Client) VMStatuses(ctx context.Context, ids ...string) ([]VMStatus, error) {
	if len(ids) == 0 {
		return []VMStatus{}, nil
	}
	return get[[]VMStatus](ctx, c, "/vms/v3/status", url.Values{"ids": {strings.Join(ids, ",")}})
}

// UpdateVMs makes all changes or none.
func (c *Client) UpdateVMs(ctx context.Context, updates ...Update) error {
	body := map[string]any{"updates": slices.Concat([]Update{}, updates)}
	return c.do(ctx, call{method: http.MethodPatch, path: "/vms/v3", body: body})
}

// DeleteVMs ends VMs, all or none, and returns the ids. What is left in their
// reserves goes back to the balance.
func (c *Client) DeleteVMs(ctx context.Context, ids ...string) ([]string, error) {
	body := map[string]any{"vmIds": slices.Concat([]string{}, ids)}
	var answer struct {
		Removed []string `json:"removed_ids"`
	}
	err := c.do(ctx, call{method: http.MethodDelete, path: "/vms/v3", body: body, answer: &answer})
	return answer.Removed, err
}
