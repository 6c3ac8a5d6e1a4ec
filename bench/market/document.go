package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
)

// The document that the floor of an answer encodes: offers with what one wants
// to know of each.
type (
	docOffer struct {
		Configuration docConfiguration `json:"configuration"`
		Datacenter    docDatacenter    `json:"datacenter"`
		Resources     []docResource    `json:"resources"`
		Servers       []docServer      `json:"servers"`
		MaxInstances  int              `json:"maxInstances"`
	}
	docConfiguration struct {
		Slug  string `json:"slug"`
		Price string `json:"price"`
	}
	docDatacenter struct {
		ID             string   `json:"id"`
		Country        string   `json:"countryCode"`
		City           string   `json:"cityCode"`
		Tier           int      `json:"tier"`
		Certifications []string `json:"certifications"`
	}
	docResource struct {
		Type     string      `json:"type"`
		Price    string      `json:"price"`
		Supply   int         `json:"supply"`
		Metadata docMetadata `json:"metadata"`
	}
	docMetadata struct {
		Manufacturer string `json:"manufacturer"`
		Architecture string `json:"architecture,omitempty"`
		Type         string `json:"type,omitempty"`
	}
	docServer struct {
		Available int `json:"availableBasicInstances"`
		Total     int `json:"totalBasicInstances"`
	}
)

func makeDocument(n int) []docOffer {
	list := make([]docOffer, n)
	for i := range list {
		list[i] = docOffer{
			Configuration: docConfiguration{"cpu-2-ram-4gb-storage-25gb", "0.9" + strconv.Itoa(10_000+i)},
			Datacenter:    docDatacenter{"0c6f5e0e-5b0e-4b0e-9b0e-" + strconv.Itoa(100_000_000_000+i), "DE", "FRA", 3, []string{"ISO27001", "SOC2"}},
			Resources: []docResource{
				{"VCPU", "0.10", 64, docMetadata{"AMD", "Genoa", ""}},
				{"RAM", "0.05", 256, docMetadata{"Samsung", "", "DDR5"}},
				{"STORAGE", "0.001", 4000, docMetadata{"Micron", "", "NVMe"}},
				{"PUBLIC_IP", "0.02", 40, docMetadata{"", "", "IPV4"}},
			},
			MaxInstances: 40 + i%100,
		}
		for range 4 {
			list[i].Servers = append(list[i].Servers, docServer{i % 32, 64})
		}
	}
	return list
}

// checkDocument returns an error unless appendDocument writes what the standard
// library does.
func checkDocument(list []docOffer) error {
	want, err := json.Marshal(list)
	if err != nil {
		return err
	}
	if got := appendDocument(nil, list); !bytes.Equal(got, want) {
		return errors.Join(errors.New("the floor's encoder is wrong"), fmt.Errorf("it writes %.500s, not %.500s", got, want))
	}
	return nil
}

// appendDocument writes a document member by member: about the least that one
// can do to encode it.
func appendDocument(b []byte, list []docOffer) []byte {
	b = append(b, '[')
	for i := range list {
		o := &list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"configuration":{"slug":`...), o.Configuration.Slug)
		b = appendText(append(b, `,"price":`...), o.Configuration.Price)
		b = appendDatacenter(append(b, `},"datacenter":`...), &o.Datacenter)
		b = appendResources(append(b, `,"resources":[`...), o.Resources)
		b = append(b, `],"servers":[`...)
		for k, s := range o.Servers {
			if k > 0 {
				b = append(b, ',')
			}
			b = strconv.AppendInt(append(b, `{"availableBasicInstances":`...), int64(s.Available), 10)
			b = strconv.AppendInt(append(b, `,"totalBasicInstances":`...), int64(s.Total), 10)
			b = append(b, '}')
		}
		b = strconv.AppendInt(append(b, `],"maxInstances":`...), int64(o.MaxInstances), 10)
		b = append(b, '}')
	}
	return append(b, ']')
}

func appendDatacenter(b []byte, d *docDatacenter) []byte {
	b = appendText(append(b, `{"id":`...), d.ID)
	b = appendText(append(b, `,"countryCode":`...), d.Country)
	b = appendText(append(b, `,"cityCode":`...), d.City)
	b = strconv.AppendInt(append(b, `,"tier":`...), int64(d.Tier), 10)
	b = append(b, `,"certifications":[`...)
	for i, c := range d.Certifications {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(b, c)
	}
	return append(b, `]}`...)
}

func appendResources(b []byte, list []docResource) []byte {
	for i := range list {
		r := &list[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = appendText(append(b, `{"type":`...), r.Type)
		b = appendText(append(b, `,"price":`...), r.Price)
		b = strconv.AppendInt(append(b, `,"supply":`...), int64(r.Supply), 10)
		b = appendText(append(b, `,"metadata":{"manufacturer":`...), r.Metadata.Manufacturer)
		if r.Metadata.Architecture != "" {
			b = appendText(append(b, `,"architecture":`...), r.Metadata.Architecture)
		}
		if r.Metadata.Type != "" {
			b = appendText(append(b, `,"type":`...), r.Metadata.Type)
		}
		b = append(b, `}}`...)
	}
	return b
}

// appendText writes a text, through the standard library where it needs more
// than quotes.
func appendText(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			quoted, _ := json.Marshal(s) // a string always encodes
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
