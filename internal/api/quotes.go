package api

import (
	"errors"
	"net/http"
	"reflect"
	"time"

	"github.com/cpucloud/cpucloud/internal/control"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/userdata"
)

var createQuote = operation{
	method: http.MethodPost, path: "/v1/quotes", id: "createQuote", tag: "Virtual machines", status: http.StatusCreated,
	summary: "Hold a price and its places",
	text: "Holds the places that a deployment would get now, at their price, for 60 to 300 seconds. POST /v1/vms takes them by `quoteId`. " +
		"A quote expires by itself; an account holds at most 10 quotes for 100 VMs at once. It costs nothing.",
	request:  `{"constraints": {"basicConfiguration": "cpu-2-ram-4gb-storage-25gb"}, "instances": 2, "holdSeconds": 120}`,
	response: `{"quoteId": "quo_06abk5", "expiresAt": "2026-01-31T12:02:00Z", "configuration": "cpu-2-ram-4gb-storage-25gb", "storageGib": 25,` + exampleEstimateMembers + `}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "instances has to be a whole number, not string",
		http.StatusUnprocessableEntity: "a quote holds for 1m0s to 5m0s, not 10s",
	},
}

const exampleEstimateMembers = `"depositAmountUsdc": "3.36", "depositEpochs": 2, "totalPricePerEpoch": "1.68", "maxPricePerEpoch": "0.84", "instances": 2`

type quoteRequest struct {
	Constraints wishes   `json:"constraints,omitzero"`
	Instances   *integer `json:"instances" nullable:"false" minimum:"1" example:"1"`
	HoldSeconds *integer `json:"holdSeconds,omitempty" minimum:"60" maximum:"300" doc:"120 unless told."`
	Preferences
}

type quote struct {
	ID            string    `json:"quoteId"`
	ExpiresAt     time.Time `json:"expiresAt"`
	Configuration string    `json:"configuration"`
	StorageGiB    int64     `json:"storageGib" doc:"Of each VM, with what was added."`
	Estimate
}

func (a *api) createQuote(c *call, in quoteRequest) (quote, error) {
	instances, err := required("instances", in.Instances)
	if err != nil {
		return quote{}, err
	}
	want, err := in.Constraints.market()
	if err != nil {
		return quote{}, err
	}
	hold := 2 * time.Minute
	if in.HoldSeconds != nil {
		if *in.HoldSeconds < 0 || *in.HoldSeconds > 1e6 {
			return quote{}, fault.Newf(fault.Invalid, "holdSeconds is %d; it has to be within 60 to 300", *in.HoldSeconds)
		}
		hold = time.Duration(*in.HoldSeconds) * time.Second
	}
	q, err := a.control.Quote(c.Context(), c.who, control.Deployment{
		Constraints: want, Instances: int64(instances), Strategy: market.Strategy(in.Strategy), AffinityGroup: in.AffinityGroup,
	}, hold)
	return quote{
		ID: q.ID, ExpiresAt: q.ExpiresAt.UTC(), Configuration: q.Configuration.Slug(), StorageGiB: q.StorageGiB, Estimate: estimateOf(q.Estimate),
	}, err
}

var deployWith = operation{
	method: http.MethodPost, path: "/v1/vms", id: "deployWithPreferences", tag: "Virtual machines", status: http.StatusCreated,
	summary: "Deploy VMs with preferences",
	text: "Like POST /vms/v3, with constraints and preferences that it does not know, or with a quote: then what the quote was made for stands for " +
		"constraints, strategy and group.\n\nWith `imageChecksum`, `sha256:` and 64 hex digits, no VM is made of an image that differs from what you expect.\n\n" +
		"`userData` is what cloud-init does at the first boot of each VM: at most 16384 bytes of `#cloud-config`, of a script that begins with " +
		"`#!`, or of a MIME multipart message of these. It is checked before anything is paid, and never answered or logged.",
	headers: []parameter{{"Idempotency-Key", "Stands for `requestId` where the body has none.", "order-1042"}},
	request: `{"constraints": {"datacenter": {"countries": ["US"]}, "minTier": 3}, "instances": 3, "strategy": "spread", "antiAffinityGroup": "db",
		"vmConfiguration": {"name": "db", "osImage": "https://cloud-images.ubuntu.com/releases/22.04/release/ubuntu-22.04-server-cloudimg-amd64.img", "sshKeys": ["laptop"]}}`,
	response: `[{"vmId": "` + exampleID + `", "vmName": "db"}]`, body: reflect.TypeFor[[]deployed](), planned: true,
	refusals: map[int]string{
		http.StatusBadRequest:          "instances has to be a whole number, not string",
		http.StatusNotFound:            `no quote with id "quo_06abk5"`,
		http.StatusConflict:            "quote quo_06abk5 has expired or was used; ask for a new one",
		http.StatusUnprocessableEntity: "No suitable offer found",
	},
}

type deployWithRequest struct {
	Constraints wishes            `json:"constraints,omitzero"`
	QuoteID     string            `json:"quoteId,omitempty" doc:"Takes the places of a quote."`
	Checksum    string            `json:"imageChecksum,omitempty" pattern:"^sha256:[0-9a-fA-F]{64}$" doc:"What the image has to have as it is downloaded, before it is decompressed. If it hasn't, the VM is Failed and the deposit returned."`
	Snapshot    string            `json:"snapshot,omitempty" doc:"Id of a snapshot that the VMs are made of, on the server where it is; osImage is empty then. Each is another machine: with its own name, host keys and machine id."`
	Export      string            `json:"export,omitempty" doc:"Id of an export that the VMs are made of, on whatever server; osImage is empty then. Each is another machine, as of a snapshot."`
	UserData    string            `json:"userData,omitempty" maxLength:"16384" doc:"What cloud-init does at the first boot: #cloud-config, a script or MIME multipart. It is not answered again."`
	Labels      map[string]string `json:"labels,omitempty" maxProperties:"32" doc:"Of each VM: see PUT /v1/vms/{id}/labels."`
	Order
	Preferences
}

func (a *api) deployWith(c *call, in deployWithRequest) (deployment, error) {
	want, err := in.Constraints.market()
	if err != nil {
		return deployment{}, err
	}
	made, err := a.deploy(c, in.Order, control.Deployment{
		Constraints: want, Strategy: market.Strategy(in.Strategy), AffinityGroup: in.AffinityGroup, QuoteID: in.QuoteID, ImageChecksum: in.Checksum,
		UserData: userdata.Text(in.UserData), Snapshot: in.Snapshot, Export: in.Export, Labels: in.Labels,
	})
	if rests, is := errors.AsType[*control.RestingError](err); is { // the published route keeps to the sentence that its clients know
		err = fault.Newf(fault.Unsatisfiable, "%s: the free addresses of all servers that fit rest until %s, as VMs of other accounts had them; try again then",
			fault.Message(err), rests.Until.UTC().Format(time.RFC3339))
	}
	return made, err
}
