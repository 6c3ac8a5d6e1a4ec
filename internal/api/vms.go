package api

import (
	"net/http"
	"slices"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/hostkey"
	"github.com/cpucloud/cpucloud/internal/money"
)

var listVMs = operation{
	method: http.MethodGet, path: "/vms/v3", id: "listVMs", tag: "Virtual machines",
	summary: "List VMs",
	text:    "The account's VMs, oldest first; without pagination parameters, all of them. Deleted VMs are not listed.",
	query: []parameter{
		{"status", "Only VMs in one of these statuses, joined by commas.", "New,Launching,Active"},
		{"dcSlug", "Only VMs in this datacenter.", "us-nyc-1"},
		{"vm_id", "Only this VM.", exampleID},
		{"terminatedAt", "Only VMs that ended at this time (RFC 3339) or later.", "2026-01-31T12:00:00Z"},
		{"pagination[page]", "Page, counted from 1.", "1"},
		{"pagination[per_page]", "VMs on a page, 50 unless told.", "50"},
	},
	response: `[` + exampleVM + `]`,
	refusals: map[int]string{http.StatusUnprocessableEntity: `status "Asleep" is none of [New Launching Active SmallBalance InsufficientFunds Terminated Stopped Failed]`},
}

const exampleVMMembers = `"id": "` + exampleID + `", "vmName": "web-1", "status": "Active", "pricePerEpoch": "0.84",
	"reservedBalance": "0.84", "totalSpent": "0.84",
	"resources": [
		{"type": "VCPU", "supply": 2, "units": "vCPU", "quantity": 2,
			"details": {"manufacturer": "AMD", "brand": "EPYC", "architecture": "Zen", "generation": "4"},
			"metadata": {"manufacturer": "AMD", "brand": "EPYC", "architecture": "Zen", "generation": "4"}},
		{"type": "RAM", "supply": 4, "units": "GiB", "quantity": 4, "details": {"type": "DDR", "generation": "5"}, "metadata": {"type": "DDR", "generation": "5"}},
		{"type": "STORAGE", "supply": 25, "units": "GiB", "quantity": 25, "details": {"type": "NVMe"}, "metadata": {"type": "NVMe"}},
		{"type": "PUBLIC_IP", "supply": 1, "units": "address", "quantity": 1, "details": {"version": "4"}, "metadata": {"version": "4"}}],
	"createdAt": "2026-01-31T12:00:00Z", "statusChangedAt": "2026-01-31T12:00:41.5Z", "nextBillingAt": "2026-02-01T12:00:41.5Z", "terminatedAt": null,
	"osImage": "https://cloud-images.ubuntu.com/releases/22.04/release/ubuntu-22.04-server-cloudimg-amd64.img",
	"datacenter": ` + exampleDatacenter + `, "publicIp": "203.0.113.7",
	"ports": [{"port": 22, "protocol": "tcp"}, {"port": 80, "protocol": "tcp"}]`

const exampleVM = `{` + exampleVMMembers + `}`

// VM is a VM as its customer sees it.
type VM struct {
	ID              string       `json:"id" pattern:"^0x[0-9a-fA-F]{40}$"`
	Name            string       `json:"vmName"`
	Status          string       `json:"status" enum:"New,Launching,Active,SmallBalance,InsufficientFunds,Terminated,Stopped,Failed"`
	Price           money.Amount `json:"pricePerEpoch" doc:"USDC, fixed at deployment." example:"0.84"`
	Reserved        money.Amount `json:"reservedBalance" doc:"USDC held for the VM; what is left is returned at its end." example:"0.84"`
	Spent           money.Amount `json:"totalSpent" doc:"USDC charged until now." example:"0.84"`
	Resources       []resource   `json:"resources"`
	CreatedAt       time.Time    `json:"createdAt"`
	StatusChangedAt time.Time    `json:"statusChangedAt"`
	NextBillingAt   *time.Time   `json:"nextBillingAt" nullable:"true" doc:"When the next epoch is charged; null while none will be."`
	TerminatedAt    *time.Time   `json:"terminatedAt" nullable:"true" doc:"When it ended; null while it may still run."`
	Image           string       `json:"osImage" format:"uri" doc:"As it was given."`
	Datacenter      datacenter   `json:"datacenter"`
	PublicIP        *string      `json:"publicIp" nullable:"true" doc:"Null until the VM is Active, and once it ended."`
	Ports           []openPort   `json:"ports"`
}

func vmOf(v control.VM) VM {
	out := VM{
		ID: v.ID, Name: v.Name, Status: string(v.State), Price: v.Price, Reserved: v.Reserved, Spent: v.Spent,
		Resources: partsOf(v.Spec.Demand(), v.Hardware), CreatedAt: v.CreatedAt.UTC(), StatusChangedAt: v.Since.UTC(),
		TerminatedAt: moment(v.EndedAt), Image: v.Spec.Image, Datacenter: datacenterOf(v.Datacenter),
		PublicIP: addressOf(v), Ports: openPorts(v.Spec.Ports),
	}
	if !v.State.Ended() {
		out.NextBillingAt = moment(v.NextBilling)
	}
	return out
}

// addressOf returns the address that a customer may see, nil for none.
func addressOf(v control.VM) *string {
	if !v.State.Addressed() || !v.Address.IsValid() {
		return nil
	}
	text := v.Address.String()
	return &text
}

// moment returns a time in UTC, nil for the zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

func (a *api) listVMs(c *call, _ none) ([]VM, error) {
	filter, err := c.filter()
	if err != nil {
		return nil, err
	}
	list, err := a.control.VMs(c.Context(), c.who, filter)
	if err != nil {
		return nil, err
	}
	out := make([]VM, len(list))
	for i, v := range list {
		out[i] = vmOf(v)
	}
	return out, nil
}

var vmStatuses = operation{
	method: http.MethodGet, path: "/vms/v3/status", id: "getVMStatuses", tag: "Virtual machines",
	summary:  "Get statuses and addresses of VMs",
	text:     "Ids that are not the account's are left out. Without ids, an empty array.",
	query:    []parameter{{"ids", "Ids joined by commas, in any case; the parameter may be repeated.", exampleID}},
	response: `[{"id": "` + exampleID + `", "status": "Active", "statusChangedAt": "2026-01-31T12:00:41.5Z", "publicIp": "203.0.113.7"}]`,
}

type vmStatus struct {
	ID              string    `json:"id"`
	Status          string    `json:"status" enum:"New,Launching,Active,SmallBalance,InsufficientFunds,Terminated,Stopped,Failed"`
	StatusChangedAt time.Time `json:"statusChangedAt"`
	PublicIP        *string   `json:"publicIp" nullable:"true"`
}

func (a *api) vmStatuses(c *call, _ none) ([]vmStatus, error) {
	ids := c.list("ids")
	if len(ids) == 0 {
		return []vmStatus{}, nil
	}
	list, err := a.control.VMs(c.Context(), c.who, control.VMFilter{IDs: ids})
	if err != nil {
		return nil, err
	}
	out := make([]vmStatus, len(list))
	for i, v := range list {
		out[i] = vmStatus{ID: v.ID, Status: string(v.State), StatusChangedAt: v.Since.UTC(), PublicIP: addressOf(v)}
	}
	return out, nil
}

var updateVMs = operation{
	method: http.MethodPatch, path: "/vms/v3", id: "updateVMs", tag: "Virtual machines", status: http.StatusNoContent,
	summary: "Change names and open ports of VMs",
	text: "All updates are made, or none. `openPorts` replaces the whole set: a port that is left out is closed, 22/tcp too. " +
		"A member that is absent or null stays as it is.",
	request: `{"updates": [{"id": "` + exampleID + `", "vmName": "web-2",
		"openPorts": [{"port": 22, "protocol": "tcp"}, {"port": 443, "protocol": "tcp"}]}]}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "updates.openPorts.port has to be a whole number, not string",
		http.StatusNotFound:            `no VM with id "` + exampleID + `"`,
		http.StatusUnprocessableEntity: "openPorts: port 10250 is reserved",
	},
}

type updateRequest struct {
	Updates []vmUpdate `json:"updates"`
}

type vmUpdate struct {
	ID    string     `json:"id"`
	Name  *string    `json:"vmName,omitempty" pattern:"^[A-Za-z0-9-]+$"`
	Ports []openPort `json:"openPorts,omitempty" maxItems:"51" doc:"The whole set."`
}

func (a *api) updateVMs(c *call, in updateRequest) (none, error) {
	if in.Updates == nil {
		return none{}, missing("updates")
	}
	updates := make([]control.Update, len(in.Updates))
	for i, u := range in.Updates {
		ports, err := portsOf(u.Ports)
		if err != nil {
			return none{}, err
		}
		if u.ID == "" {
			return none{}, missing("updates.id")
		}
		updates[i] = control.Update{ID: u.ID, Name: u.Name, Ports: ports}
	}
	return none{}, a.control.UpdateVMs(c.Context(), c.who, updates)
}

var deleteVMs = operation{
	method: http.MethodDelete, path: "/vms/v3", id: "deleteVMs", tag: "Virtual machines",
	summary: "Delete VMs",
	text: "Ends the VMs and purges their disks. What is left in their reserves is returned; the epoch that has begun is not refunded. " +
		"All are deleted, or none. It may be repeated.",
	request:  `{"vmIds": ["` + exampleID + `"]}`,
	response: `{"removed_ids": ["` + exampleID + `"], "removedIds": ["` + exampleID + `"], "transactions": []}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "vmIds has to be an array, not string",
		http.StatusNotFound:            `no VM with id "` + exampleID + `"`,
		http.StatusConflict:            "VM web-1 is protected: nothing was deleted; unprotect it first, if it is really to go",
		http.StatusUnprocessableEntity: "vmIds is missing",
	},
}

type deleteRequest struct {
	IDs   []string `json:"vmIds"`
	Alias []string `json:"vm_ids,omitempty" deprecated:"true" doc:"An older name of vmIds."`
}

type removed struct {
	IDs          []string      `json:"removed_ids"`
	CamelIDs     []string      `json:"removedIds" doc:"The same as removed_ids."`
	Transactions []transaction `json:"transactions" doc:"Always empty: balances are kept here, not on a chain."`
}

// transaction is never made; it gives the empty list a type.
type transaction struct{}

func (a *api) deleteVMs(c *call, in deleteRequest) (removed, error) {
	if in.IDs == nil && in.Alias == nil {
		return removed{}, missing("vmIds")
	}
	ids, err := a.control.DeleteVMs(c.Context(), c.who, append(in.IDs, in.Alias...))
	if err != nil {
		return removed{}, err
	}
	return removed{IDs: ids, CamelIDs: ids, Transactions: []transaction{}}, nil
}

var getVM = operation{
	method: http.MethodGet, path: "/v1/vms/{id}", id: "getVM", tag: "Virtual machines",
	summary: "Get one VM with its story",
	text: "Everything that the list says, why the VM is in its status, and its timeline. With `wait` the answer comes once the VM " +
		"is in that status, has ended, or `timeout` has passed, whichever is first: read `status` to see which.",
	query: []parameter{
		{"wait", "A status to wait for.", "Active"},
		{"timeout", "How long to wait, at most 120s; 60s unless told.", "60s"},
	},
	response: `{` + exampleVMMembers + `, "hostname": "web-1", "reason": null, "deadline": null, "unreachableSince": null, "drainedAt": null,
		"power": "on", "pricePowerOff": "0.62", "nextPricePerEpoch": null, "portsEtag": "3f1c9a0be2d47788", "portsRevertAt": null, "operation": null, "allowedActions": ["rename", "setPorts", "label", "reboot", "reset", "shutdown", "resize", "reinstall", "return", "rescue", "snapshot", "restore", "protect", "delete"],
		"protected": false, "labels": {"env": "prod"}, "disk": {"number": 0, "since": null},
		"sshHostKeys": [{"type": "ssh-ed25519", "fingerprint": "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU",
			"publicKey": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl"}],
		"timeline": [{"at": "2026-01-31T12:00:00Z", "text": "accepted at 0.84 USDC per epoch and placed in us-nyc-1; a deposit of 1.68 USDC is reserved"}]}`,
	refusals: map[int]string{
		http.StatusNotFound:            `no VM with id "` + exampleID + `"`,
		http.StatusUnprocessableEntity: `timeout "soon" is not a duration within 0s to 120s`,
	},
}

// VMLook is a VM with what its customer should know of it now.
type VMLook struct {
	VM
	Hostname string     `json:"hostname"`
	Reason   *string    `json:"reason" nullable:"true" doc:"Why it is in its status; null when there is nothing to explain."`
	Deadline *time.Time `json:"deadline" nullable:"true" doc:"When it is given up, while it is launched."`
	Waiting  *wait      `json:"waiting,omitempty" doc:"What it waits for, or why it has ended; left out of a VM that is as it should be. Of several, what is over first."`
	Waits    []wait     `json:"alsoWaiting,omitempty" doc:"What else it waits for; left out where that is nothing."`
	Payment  *payment   `json:"payment,omitempty" doc:"What it waits for when it is short of money; left out otherwise."`
	Silent   *time.Time `json:"unreachableSince" nullable:"true" doc:"When its server was heard last, once that is too long ago. The VM is as it was seen then; it runs on."`
	Drained  *time.Time `json:"drainedAt" nullable:"true" doc:"When its provider will end it, with all that is on its server. Deploy anew elsewhere before."`

	PortsTag  string     `json:"portsEtag" doc:"Names the open ports, for If-Match of PUT /v1/vms/{id}/ports."`
	RevertsAt *time.Time `json:"portsRevertAt" nullable:"true" doc:"When the ports are changed back, unless their change is confirmed before; null for never."`

	Power    string        `json:"power" enum:"on,stopping,off" doc:"Whether its customer wants it to run: on, stopping until its server has seen it powered off, off."`
	PriceOff money.Amount  `json:"pricePowerOff" doc:"USDC per epoch while it is powered off: what its storage and address cost."`
	Next     *money.Amount `json:"nextPricePerEpoch" nullable:"true" doc:"USDC from the next epoch on; null when that is pricePerEpoch."`
	Kept     *time.Time    `json:"keptUntil,omitempty" doc:"Of a deleted VM: until when it can be undeleted."`

	Protected bool              `json:"protected" doc:"It can't be deleted until it is unprotected."`
	Labels    map[string]string `json:"labels" doc:"What its customer tells VMs apart by."`
	Operation *string           `json:"operation" nullable:"true" doc:"Id of the operation that goes on; null for none."`
	Allowed   []string          `json:"allowedActions" doc:"What can be done to it now."`
	Disk      ownDisk           `json:"disk" doc:"Which of its disks it has."`
	Rescue    *rescue           `json:"rescue,omitempty" doc:"It runs a rescue image, or is about to; left out otherwise."`
}

// payment is what a VM waits for that is short of money.
type payment struct {
	Missing money.Amount `json:"missing" doc:"USDC that the balance has too little for it to go on. What others of your VMs wait for is not counted."`
	Until   time.Time    `json:"until" doc:"Until when it goes on as it is."`
	Then    string       `json:"then" enum:"InsufficientFunds,Terminated" doc:"Its status after that, if nothing is paid: powered off with its disk kept, or ended with its disk purged."`
}

type vmStory struct {
	VMLook
	HostKeys   []hostKey `json:"sshHostKeys" doc:"By which its SSH server is known, as its guest printed them at its first boot. Empty until then, and where its image prints none."`
	RescueKeys []hostKey `json:"rescueHostKeys,omitempty" doc:"Those of the rescue system, which are others; left out where there are none."`
	Timeline   []vmEvent `json:"timeline" doc:"What happened, oldest first."`
}

// hostKey is a key of a VM's SSH server.
type hostKey struct {
	Type        string `json:"type" example:"ssh-ed25519"`
	Fingerprint string `json:"fingerprint" doc:"SHA-256, as ssh shows it."`
	PublicKey   string `json:"publicKey" doc:"As a line of known_hosts has it behind the host's name."`
}

func hostKeysOf(keys []hostkey.Key) []hostKey {
	out := make([]hostKey, len(keys))
	for i, k := range keys {
		out[i] = hostKey{k.Type(), k.Fingerprint(), string(k)}
	}
	return out
}

func lookOf(v control.VM) VMLook {
	look := VMLook{
		VM: vmOf(v), Hostname: v.Spec.Hostname, Deadline: moment(v.Deadline), PortsTag: v.PortsTag(), Protected: v.Protected,
		Power: string(v.Power), PriceOff: v.PriceOff(), Kept: moment(v.KeptUntil), Labels: labelsOf(v.Labels),
		Disk: ownDisk{v.Disk, moment(v.TurnedAt)}, Rescue: rescueOf(v.Rescue),
	}
	if v.Cheaper {
		look.Next = new(v.Rate().Sum())
	}
	if !v.State.Ended() {
		look.RevertsAt = moment(v.RevertAt)
		look.Silent, look.Drained = moment(v.UnreachableSince), moment(v.DrainedAt)
	}
	for i, w := range v.Waits {
		if told := waitOf(w); i == 0 {
			look.Waiting = &told
		} else {
			look.Waits = append(look.Waits, told)
		}
	}
	if v.Operation != "" {
		look.Operation = &v.Operation
	}
	for _, a := range v.Allowed() {
		look.Allowed = append(look.Allowed, string(a))
	}
	if v.Reason != "" {
		look.Reason = &v.Reason
	}
	if p := v.Payment; p != nil {
		look.Payment = &payment{Missing: p.Missing, Until: p.Until, Then: string(p.Then)}
	}
	return look
}

var listVMLooks = operation{
	method: http.MethodGet, path: "/v1/vms", id: "listVMsWithReasons", tag: "Virtual machines",
	summary: "List VMs with what should be known of them",
	text:    "Like GET /vms/v3, with the same parameters and labels, and more of each VM.",
	query:   append(slices.Clone(listVMs.query), selecting, parameter{"deleted", "Those that were deleted and can be undeleted, in the place of the others.", "true"}),
	response: `[{` + exampleVMMembers + `, "hostname": "web-1", "reason": null, "deadline": null, "unreachableSince": null, "drainedAt": null,
		"power": "on", "pricePowerOff": "0.62", "nextPricePerEpoch": null, "portsEtag": "3f1c9a0be2d47788", "portsRevertAt": null, "operation": null, "allowedActions": ["rename", "setPorts", "label", "reboot", "reset", "shutdown", "resize", "reinstall", "return", "rescue", "snapshot", "restore", "protect", "delete"],
		"protected": false, "labels": {"env": "prod"}, "disk": {"number": 0, "since": null}}]`,
	refusals: listVMs.refusals,
}

func (a *api) listVMLooks(c *call, _ none) ([]VMLook, error) {
	f, err := c.filter()
	if err != nil {
		return nil, err
	}
	if f.Labels, err = c.selector(); err != nil {
		return nil, err
	}
	if f.Deleted, err = c.flag("deleted"); err != nil {
		return nil, err
	}
	list, err := a.control.VMs(c.Context(), c.who, f)
	out := make([]VMLook, len(list))
	for i, v := range list {
		out[i] = lookOf(v)
	}
	return out, err
}

type vmEvent struct {
	At   time.Time `json:"at"`
	Text string    `json:"text"`
}

// The long poll of one VM.
const (
	defaultWait = time.Minute
	longestWait = 2 * time.Minute
)

func (a *api) getVM(c *call, _ none) (vmStory, error) {
	want, err := c.states("wait")
	if err != nil {
		return vmStory{}, err
	}
	timeout, err := c.duration("timeout", defaultWait, longestWait)
	if err != nil {
		return vmStory{}, err
	}
	var v control.VM
	switch len(want) {
	case 0:
		v, err = a.control.VM(c.Context(), c.who, c.PathValue("id"))
	case 1:
		timer := time.NewTimer(timeout)
		defer timer.Stop()
		v, err = a.control.WaitVM(c.Context(), c.who, c.PathValue("id"), want[0], timer.C)
	default:
		err = fault.New(fault.Invalid, "wait takes one status")
	}
	if err != nil {
		return vmStory{}, err
	}
	story := vmStory{VMLook: lookOf(v), HostKeys: hostKeysOf(v.HostKeys), Timeline: make([]vmEvent, len(v.Timeline))}
	if v.Rescue != nil {
		story.RescueKeys = hostKeysOf(v.Rescue.HostKeys)
	}
	for i, e := range v.Timeline {
		story.Timeline[i] = vmEvent{At: e.At.UTC(), Text: e.Text}
	}
	return story, nil
}
