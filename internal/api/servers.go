package api

import (
	"net/http"
	"time"

	"github.com/cpucloud/cpucloud/internal/capacity"
	"github.com/cpucloud/cpucloud/internal/control"
)

const (
	exampleServerMembers = `"id": "srv_06abk5", "name": "nyc-1", "state": "open", "offer": "standard", "datacenter": "us-nyc-1",
	"heardAt": "2026-01-31T12:00:00Z", "unreachableSince": null, "problem": null, "drainDeadline": null,
	"capacity": {"vcpu": 64, "ramGib": 250, "storageGib": 3800, "addresses": 14}, "used": {"vcpu": 2, "ramGib": 4, "storageGib": 25, "addresses": 1},
	"hardware": {"cpu": {"manufacturer": "AMD", "brand": "EPYC 9354P", "architecture": "Zen", "generation": "4"},
		"memory": {"type": "DDR", "generation": "5"}, "storage": {"type": "NVMe"}},
	"details": {"sockets": 1, "cores": 32, "threads": 64, "memoryGib": 256, "memorySpeed": 4800,
		"disks": [{"name": "nvme0n1", "type": "NVMe", "sizeGib": 3840, "model": "PM9A3"}], "addresses": ["203.0.113.1"]},
	"declared": ["hardware.memory.generation"],
	"measured": {"at": "2026-01-31T11:00:00Z", "ageSeconds": 3600, "cpuSingle": 1200, "cpuAll": 38000, "memory": 90000, "diskRead": 6100, "diskWrite": 3900,
		"diskIops": 14000, "diskFsync": 0.05, "network": 12.5},
	"vms": 1`
	exampleServer = `{` + exampleServerMembers + `}`
	noServer      = `no server "nyc-1" of provider Nord`
)

var listServers = operation{
	method: http.MethodGet, path: "/v1/providers/{provider}/servers", id: "listServers", tag: "Providers",
	summary:  "List a provider's servers",
	text:     "Oldest first, without those that were removed.",
	response: `[` + exampleServer + `]`,
	refusals: map[int]string{http.StatusNotFound: noProvider},
}

// Server is a server as its provider sees it.
type Server struct {
	ID            string         `json:"id"`
	Name          string         `json:"name" doc:"Empty where it joined without one."`
	State         string         `json:"state" enum:"open,cordoned,draining,removed"`
	Offer         string         `json:"offer" doc:"Name of the offer that lists it; empty while that is withdrawn, so that it sells nothing."`
	Datacenter    string         `json:"datacenter" doc:"Slug."`
	HeardAt       *time.Time     `json:"heardAt" nullable:"true" doc:"When its agent was heard last."`
	SilentSince   *time.Time     `json:"unreachableSince" nullable:"true" doc:"When its agent was heard last, once that is too long ago; null while it is heard."`
	Problem       *string        `json:"problem" nullable:"true" doc:"Why nothing is placed on it though it is open."`
	DrainDeadline *time.Time     `json:"drainDeadline" nullable:"true" doc:"When VMs that are left are ended."`
	Capacity      amounts        `json:"capacity" doc:"What may be sold."`
	Used          amounts        `json:"used"`
	Hardware      hardwareName   `json:"hardware"`
	Details       serverDetails  `json:"details" doc:"What is shown of the machine and nothing is matched by."`
	Declared      []string       `json:"declared" doc:"What was stated by the provider and not read off the machine."`
	Measured      *measuredState `json:"measured,omitempty" doc:"The newest benchmark; absent before the first."`
	VMs           int            `json:"vms" minimum:"0" doc:"How many are there, ended ones too until they are purged."`
}

type amounts struct {
	VCPU       int64 `json:"vcpu"`
	RAMGiB     int64 `json:"ramGib"`
	StorageGiB int64 `json:"storageGib"`
	Addresses  int64 `json:"addresses"`
}

type serverDetails struct {
	Sockets     int64        `json:"sockets,omitempty"`
	Cores       int64        `json:"cores,omitempty"`
	Threads     int64        `json:"threads,omitempty"`
	MemoryGiB   int64        `json:"memoryGib,omitempty"`
	MemorySpeed int64        `json:"memorySpeed,omitempty" doc:"Mega-transfers per second."`
	Disks       []serverDisk `json:"disks,omitempty"`
	Addresses   []string     `json:"addresses,omitempty"`
}

type serverDisk struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	SizeGiB int64  `json:"sizeGib"`
	Model   string `json:"model,omitempty"`
}

// measuredState is a benchmark with its age.
type measuredState struct {
	At        time.Time `json:"at"`
	Age       int64     `json:"ageSeconds"`
	CPUSingle float64   `json:"cpuSingle" doc:"Score of one thread."`
	CPUAll    float64   `json:"cpuAll" doc:"Score of all threads at once."`
	Memory    float64   `json:"memory" doc:"MiB/s."`
	DiskRead  float64   `json:"diskRead" doc:"MiB/s."`
	DiskWrite float64   `json:"diskWrite" doc:"MiB/s."`
	DiskIOPS  float64   `json:"diskIops" doc:"Random reads per second."`
	DiskFsync float64   `json:"diskFsync" doc:"Milliseconds."`
	Network   float64   `json:"network" doc:"Milliseconds to the control plane and back."`
	Note      string    `json:"note,omitempty" doc:"What could not be measured, and why."`
}

func (a *api) serverOf(s control.Server) Server {
	inv := s.Inventory
	out := Server{
		ID: s.ID, Name: s.Name, State: string(s.State), Offer: s.Offer.Name, Datacenter: s.Datacenter.Slug(), HeardAt: moment(s.SeenAt),
		SilentSince: moment(s.SilentSince), DrainDeadline: moment(s.DrainDeadline), Capacity: amounts(inv.Total), Used: amounts(s.Used),
		Hardware: hardwareOf(inv.Hardware), Details: detailsOf(inv.Details), Declared: append([]string{}, inv.Declared...), VMs: s.VMs,
	}
	if s.Offer.Withdrawn {
		out.Offer = ""
	}
	if s.Problem != "" {
		out.Problem = &s.Problem
	}
	if m := inv.Measured; m != nil {
		out.Measured = &measuredState{
			At: m.At.UTC(), Age: int64(a.control.Now().Sub(m.At).Seconds()), CPUSingle: m.CPUSingle, CPUAll: m.CPUAll, Memory: m.Memory,
			DiskRead: m.DiskRead, DiskWrite: m.DiskWrite, DiskIOPS: m.DiskIOPS, DiskFsync: m.DiskFsync, Network: m.Network, Note: m.Note,
		}
	}
	return out
}

func detailsOf(d capacity.Details) serverDetails {
	out := serverDetails{
		Sockets: d.Sockets, Cores: d.Cores, Threads: d.Threads, MemoryGiB: d.MemoryGiB, MemorySpeed: d.MemorySpeed, Addresses: d.Addresses,
	}
	for _, disk := range d.Disks {
		out.Disks = append(out.Disks, serverDisk(disk))
	}
	return out
}

func (a *api) listServers(c *call, _ none) ([]Server, error) {
	list, err := a.control.Servers(c.Context(), c.who, c.PathValue("provider"))
	out := make([]Server, len(list))
	for i, s := range list {
		out[i] = a.serverOf(s)
	}
	return out, err
}

var getServer = operation{
	method: http.MethodGet, path: "/v1/providers/{provider}/servers/{server}", id: "getServer", tag: "Providers",
	summary: "Get one server with its VMs and its story",
	text:    "By its name or id; one that was removed by its id alone. Of VMs only ids, statuses and ages are told.",
	response: `{` + exampleServerMembers + `, "timeline": [{"at": "2026-01-31T10:00:00Z", "text": "joined; listed by offer standard"}],
		"virtualMachines": [{"id": "` + exampleID + `", "status": "Active", "createdAt": "2026-01-31T11:00:00Z"}]}`,
	refusals: map[int]string{http.StatusNotFound: noServer},
}

type serverStory struct {
	Server
	Timeline        []vmEvent  `json:"timeline" doc:"What happened, oldest first."`
	VirtualMachines []serverVM `json:"virtualMachines"`
}

type serverVM struct {
	ID        string    `json:"id"`
	Status    string    `json:"status" enum:"New,Launching,Active,SmallBalance,InsufficientFunds,Terminated,Stopped,Failed"`
	CreatedAt time.Time `json:"createdAt"`
}

func (a *api) getServer(c *call, _ none) (serverStory, error) {
	s, err := a.control.Server(c.Context(), c.who, c.PathValue("provider"), c.PathValue("server"))
	story := serverStory{Server: a.serverOf(s), Timeline: make([]vmEvent, len(s.Timeline)), VirtualMachines: make([]serverVM, len(s.There))}
	for i, e := range s.Timeline {
		story.Timeline[i] = vmEvent{At: e.At.UTC(), Text: e.Text}
	}
	for i, v := range s.There {
		story.VirtualMachines[i] = serverVM{v.ID, string(v.State), v.CreatedAt.UTC()}
	}
	return story, err
}
