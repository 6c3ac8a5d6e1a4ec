package client

import (
	"context"
	"net/http"
	"time"
)

// Constraints is what an offer has to be. The zero value wants nothing in
// particular; lists are alternatives, different members must all hold.
type Constraints struct {
	BasicConfiguration  string              `json:"basicConfiguration,omitempty"` // slug, such as cpu-2-ram-4gb-storage-25gb
	Datacenter          DatacenterFilter    `json:"datacenter,omitzero"`
	Hardware            Hardware            `json:"hardware,omitzero"`
	AdditionalResources AdditionalResources `json:"additionalResources,omitzero"`
	MaxPricePerEpoch    Amount              `json:"maxTotalPricePerEpochUsd,omitempty"` // of one VM with its extra storage, inclusive
}

// DatacenterFilter narrows where.
type DatacenterFilter struct {
	Countries []string `json:"countries,omitempty"` // ISO 3166-1 alpha-2
}

// Hardware is what servers are made of: as a filter, an empty member stands for
// anything; as an answer of the cloud, it is what is on offer.
type Hardware struct {
	CPU     []CPU     `json:"cpu,omitempty"`
	Memory  []Memory  `json:"memory,omitempty"`
	Storage []Storage `json:"storage,omitempty"`
}

// CPU is a kind of processor.
type CPU struct {
	Manufacturer string `json:"manufacturer,omitempty"`
	Architecture string `json:"architecture,omitempty"`
}

// Memory is a kind of memory, such as DDR of generation 4.
type Memory struct {
	Type       string `json:"type,omitempty"`
	Generation string `json:"generation,omitempty"`
}

// Storage is a kind of disk: HDD, SSD or NVMe.
type Storage struct {
	Type string `json:"type,omitempty"`
}

// AdditionalResources is what a VM gets beyond its basic configuration.
type AdditionalResources struct {
	Storage []ExtraStorage `json:"storage,omitempty"`
}

// ExtraStorage is more disk.
type ExtraStorage struct {
	Supply int64  `json:"supply"`
	Units  string `json:"units"` // GiB
	Type   string `json:"type,omitempty"`
}

// Offer is one configuration in one datacenter at one price.
type Offer struct {
	Configuration       Configuration `json:"configuration"`
	Resources           []Resource    `json:"resources"`
	Datacenter          Datacenter    `json:"datacenter"`
	Servers             []OfferServer `json:"servers"`
	MaxAdditionalSupply []Additional  `json:"maxAdditionalSupply"` // on the best server
}

// Configuration is a size of VM with its price per epoch.
type Configuration struct {
	Slug  string `json:"slug"`
	Price Amount `json:"price"`
}

// Resource is a part of an offer: VCPU, RAM, STORAGE or PUBLIC_IP.
type Resource struct {
	Type     string            `json:"type"`
	Metadata map[string]string `json:"metadata"`
	Price    Amount            `json:"price"`
}

// OfferServer is a server of an offer.
type OfferServer struct {
	AvailableBasicInstances int64        `json:"availableBasicInstances"`
	AdditionalResources     []Additional `json:"additionalResources"`
}

// Additional is storage that a VM on this server can have on top.
type Additional struct {
	Type       string            `json:"type"`
	Metadata   map[string]string `json:"metadata"`
	Price      Amount            `json:"price"` // per unit and epoch
	Supply     int64             `json:"supply"`
	Units      string            `json:"units"`
	PerVMLimit *int64            `json:"perVmLimit"`
}

// Datacenter is where a server stands.
type Datacenter struct {
	ID             string   `json:"id,omitempty"`
	Slug           string   `json:"slug,omitempty"`
	CountryCode    string   `json:"countryCode"`
	CityCode       string   `json:"cityCode"`
	CityIndex      int64    `json:"cityIndex"`
	Tier           int64    `json:"tier"`
	Certifications []string `json:"certifications"`
}

// Image is an operating system that the cloud recommends.
type Image struct {
	ID           string    `json:"id"`
	Name         string    `json:"name"`
	Distribution string    `json:"distribution"`
	Slug         string    `json:"slug"`
	DownloadURL  string    `json:"downloadUrl"`
	Username     string    `json:"username"` // that SSH logs in as
	CreatedAt    time.Time `json:"createdAt"`
	UpdatedAt    time.Time `json:"updatedAt"`
}

// Estimate is what a deployment would cost now.
type Estimate struct {
	Deposit       Amount `json:"depositAmountUsdc"` // reserved at deploy
	DepositEpochs int64  `json:"depositEpochs"`
	Total         Amount `json:"totalPricePerEpoch"` // of all instances
	Max           Amount `json:"maxPricePerEpoch"`   // of the dearest instance
	Instances     int64  `json:"instances"`
}

// Offers returns what fits, with room for at least one VM. That nothing fits is
// no error.
func (c *Client) Offers(ctx context.Context, want Constraints) ([]Offer, error) {
	var offers []Offer
	err := c.do(ctx, call{method: http.MethodPost, path: "/marketplace/offers", body: want, answer: &offers, safe: true, reads: true})
	return offers, err
}

// BasicConfigurations returns the slugs on offer.
func (c *Client) BasicConfigurations(ctx context.Context) ([]string, error) {
	return get[[]string](ctx, c, "/marketplace/basic_configurations", nil)
}

// Countries returns where there are offers, as ISO 3166-1 alpha-2 codes.
func (c *Client) Countries(ctx context.Context) ([]string, error) {
	return get[[]string](ctx, c, "/marketplace/countries", nil)
}

// Hardware returns what there is to filter by.
func (c *Client) Hardware(ctx context.Context) (Hardware, error) {
	return get[Hardware](ctx, c, "/marketplace/hardware", nil)
}

// Datacenters returns all datacenters.
func (c *Client) Datacenters(ctx context.Context) ([]Datacenter, error) {
	return get[[]Datacenter](ctx, c, "/v1/marketplace/datacenters", nil)
}

// DefaultImages returns the images that the cloud recommends.
func (c *Client) DefaultImages(ctx context.Context) ([]Image, error) {
	return get[[]Image](ctx, c, "/vms/v3/default_images", nil)
}

// Estimate returns what a deployment would cost now, or the Error that it would
// end in for want of an offer.
func (c *Client) Estimate(ctx context.Context, want Constraints, instances int) (Estimate, error) {
	body := struct {
		Constraints Constraints `json:"constraints"`
		Instances   int         `json:"instances"`
	}{want, instances}
	var e Estimate
	err := c.do(ctx, call{method: http.MethodPost, path: "/vms/v3/estimate", body: body, answer: &e, safe: true, reads: true})
	return e, err
}
