package api

import (
	"cmp"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/ledger"
	"github.com/cpucloud/cpucloud/internal/money"
	"github.com/cpucloud/cpucloud/internal/vm"
)

var deployVMs = operation{
	method: http.MethodPost, path: "/vms/v3", id: "deployVMs", tag: "Virtual machines",
	summary: "Deploy one or more VMs",
	text: "Every VM gets the smallest configuration that fits the constraints, at the lowest price. A deposit of two epochs is reserved " +
		"for each. It is all or nothing: a request that is refused leaves no VM and takes no money. Returns before the VMs are provisioned: " +
		"they are `New`, then `Launching`, then `Active` with a public IP. Port 22/tcp is open besides the ports given; port 10250 is reserved.\n\n" +
		"A request with a `requestId`, or an `Idempotency-Key` header, may be sent again: it is answered as the first time, and no second VM is made.",
	headers: []parameter{{"Idempotency-Key", "Stands for `requestId` where the body has none.", "order-1042"}},
	request: `{"constraints": {"datacenter": {"countries": ["US"]}}, "instances": 1, "requestId": "order-1042",
		"vmConfiguration": {"name": "web-1", "hostname": "web-1", "openPorts": [{"port": 80, "protocol": "tcp"}],
			"osImage": "https://cloud-images.ubuntu.com/releases/22.04/release/ubuntu-22.04-server-cloudimg-amd64.img", "sshKeys": ["laptop"]}}`,
	response: `[{"vmId": "` + exampleID + `", "vmName": "web-1"}]`, body: reflect.TypeFor[[]deployed](), planned: true,
	refusals: map[int]string{
		http.StatusBadRequest:          "instances has to be a whole number, not string",
		http.StatusConflict:            `request id "order-1042" was used for another request`,
		http.StatusUnprocessableEntity: "No suitable offer found",
	},
}

const exampleID = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"

type deployRequest struct {
	Constraints constraints `json:"constraints,omitzero"`
	Order
}

// Order is what every deployment says, whatever it asks of the servers.
type Order struct {
	Instances     *integer        `json:"instances" nullable:"false" minimum:"1" doc:"How many VMs." example:"1"`
	RequestID     string          `json:"requestId,omitempty" maxLength:"255" doc:"Makes the request safe to repeat."`
	Configuration vmConfiguration `json:"vmConfiguration"`
}

type vmConfiguration struct {
	Name     string     `json:"name" pattern:"^[A-Za-z0-9-]+$" doc:"Need not be unique; every instance gets the same." example:"web-1"`
	Hostname string     `json:"hostname,omitempty" doc:"The name, where none is given." example:"web-1"`
	Ports    []openPort `json:"openPorts,omitempty" maxItems:"51" doc:"Open besides 22/tcp."`
	Image    string     `json:"osImage" format:"uri" doc:"Address of an image: http or https, ending in .qcow2, .img, .raw, .raw.xz, .raw.gz, .img.xz or .img.gz."`
	SSHKeys  []string   `json:"sshKeys" minItems:"1" maxItems:"64" doc:"Each a public key line, or the name or fingerprint of a registered key." example:"[\"laptop\"]"`
}

// openPort is an open port as it is sent.
type openPort struct {
	Port     integer `json:"port" minimum:"1" maximum:"65535" example:"80"`
	Protocol string  `json:"protocol" enum:"tcp,udp"`
}

// portsOf returns ports in the words of vm; nil stays nil.
func portsOf(sent []openPort) ([]vm.Port, error) {
	if sent == nil {
		return nil, nil
	}
	ports := make([]vm.Port, len(sent))
	for i, p := range sent {
		var err error
		if ports[i], err = vm.NewPort(int64(p.Port), p.Protocol); err != nil {
			return nil, fault.Newf(fault.Invalid, "openPorts: %s", fault.Message(err))
		}
	}
	return ports, nil
}

type deployed struct {
	ID   string `json:"vmId" pattern:"^0x[0-9a-fA-F]{40}$"`
	Name string `json:"vmName"`
}

func (a *api) deployVMs(c *call, in deployRequest) (deployment, error) {
	want, err := in.Constraints.market()
	if err != nil {
		return deployment{}, err
	}
	return a.deploy(c, in.Order, control.Deployment{Constraints: want})
}

// deploy deploys what is ordered as d says.
func (a *api) deploy(c *call, in Order, d control.Deployment) (deployment, error) {
	instances, err := required("instances", in.Instances)
	if err != nil {
		return deployment{}, err
	}
	d.Instances, d.RequestID = int64(instances), cmp.Or(in.RequestID, c.Header.Get("Idempotency-Key"))
	wanted := in.Configuration
	if d.Ports, err = portsOf(wanted.Ports); err != nil {
		return deployment{}, err
	}
	d.Name, d.Hostname, d.Image, d.SSHKeys = wanted.Name, wanted.Hostname, wanted.Image, wanted.SSHKeys
	if c.dry {
		c.status = http.StatusOK
		p, err := a.control.PlanDeploy(c.Context(), c.who, d)
		return deployment{plan: planOf(p)}, err
	}
	made, err := a.control.Deploy(c.Context(), c.who, d)
	return deployment{made: deployedOf(made)}, err
}

// deployment is what a deployment is answered with.
type deployment struct {
	made []deployed
	plan *deployPlan // instead, of a dry run
}

// MarshalJSON writes the one that there is.
func (d deployment) MarshalJSON() ([]byte, error) {
	if d.plan != nil {
		return json.Marshal(d.plan)
	}
	return json.Marshal(d.made)
}

func deployedOf(made []control.Deployed) []deployed {
	out := make([]deployed, len(made))
	for i, m := range made {
		out[i] = deployed(m)
	}
	return out
}

const examplePlan = `{"dryRun": true,` + exampleEstimateMembers + `, "balanceAfter": "95.9", "limits": ` + exampleSpending + `}`

// deployPlan is what a deployment would have come to.
type deployPlan struct {
	DryRun bool `json:"dryRun"`
	Estimate
	Left     money.Amount `json:"balanceAfter" doc:"USDC that would be left." example:"95.9"`
	Limits   spending     `json:"limits" doc:"With what the VMs add to what is used."`
	Repeated []deployed   `json:"repeated,omitempty" doc:"The request was made before under its id: it would be answered with these VMs, and nothing new would be made or paid."`
}

func planOf(p control.Plan) *deployPlan {
	plan := &deployPlan{DryRun: true, Estimate: estimateOf(p.Estimate), Left: p.Left, Limits: spendingOf(p.Limits)}
	if len(p.Repeated) > 0 {
		plan.Repeated = deployedOf(p.Repeated)
	}
	return plan
}

var estimateVMs = operation{
	method: http.MethodPost, path: "/vms/v3/estimate", id: "estimateVMs", tag: "Virtual machines", reads: true,
	summary: "Estimate what a deployment costs",
	text:    "What a deployment with the same constraints would cost now. Nothing is deployed or reserved.",
	request: `{"constraints": {"basicConfiguration": "cpu-2-ram-4gb-storage-25gb"}, "instances": 2}`,
	response: `{"depositAmountUsdc": "3.36", "depositEpochs": 2, "totalPricePerEpoch": "1.68", "maxPricePerEpoch": "0.84",
		"instances": 2}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "instances has to be a whole number, not string",
		http.StatusUnprocessableEntity: "Not enough offers found",
	},
}

type estimateRequest struct {
	Constraints constraints `json:"constraints,omitzero"`
	Instances   *integer    `json:"instances" nullable:"false" minimum:"1" example:"1"`
}

type estimate struct {
	Deposit   money.Amount `json:"depositAmountUsdc" doc:"What is reserved at deployment." example:"3.36"`
	Epochs    int64        `json:"depositEpochs" doc:"How many epochs the deposit pays." example:"2"`
	Total     money.Amount `json:"totalPricePerEpoch" doc:"Of all instances." example:"1.68"`
	Dearest   money.Amount `json:"maxPricePerEpoch" doc:"Of the dearest instance." example:"0.84"`
	Instances int64        `json:"instances" minimum:"1"`
}

func (a *api) estimateVMs(_ *call, in estimateRequest) (estimate, error) {
	instances, err := required("instances", in.Instances)
	if err != nil {
		return estimate{}, err
	}
	want, err := in.Constraints.market()
	if err != nil {
		return estimate{}, err
	}
	e, err := a.control.Estimate(want, int64(instances))
	if err != nil {
		return estimate{}, err
	}
	return estimateOf(e), nil
}

func estimateOf(e control.Estimate) estimate {
	return estimate{Deposit: e.Deposit, Epochs: ledger.DepositEpochs, Total: e.Total, Dearest: e.Dearest, Instances: e.Instances}
}
