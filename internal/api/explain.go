package api

import (
	"net/http"

	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/money"
)

var explainOffers = operation{
	method: http.MethodPost, path: "/v1/offers/explain", id: "explainOffers", tag: "Marketplace", reads: true,
	summary: "Say why no offer fits",
	text: "For each constraint, how many servers it rules out alone, and how many of those that the constraints before it left. " +
		"Where the request can't be met, `relaxations` are the smallest changes of one constraint with which it can, cheapest first.",
	request: `{"constraints": {"datacenter": {"countries": ["FR"]}, "maxTotalPricePerEpochUsd": "0.5"}, "instances": 1}`,
	response: `{"servers": 1200, "matching": 0, "reasons": [
			{"constraint": "datacenter.countries", "wanted": "FR", "alone": 1100, "inOrder": 1100},
			{"constraint": "maxTotalPricePerEpochUsd", "wanted": "0.5", "alone": 700, "inOrder": 100},
			{"constraint": "open", "wanted": "", "alone": 3, "inOrder": 0}, {"constraint": "room", "wanted": "", "alone": 40, "inOrder": 0}],
		"relaxations": [{"constraint": "maxTotalPricePerEpochUsd", "change": "raise maxTotalPricePerEpochUsd from 0.5 to 0.61", "price": "0.61",
			"configuration": "cpu-2-ram-4gb-storage-25gb", "instances": 1}]}`,
	refusals: map[int]string{
		http.StatusBadRequest:          "instances has to be a whole number, not string",
		http.StatusUnprocessableEntity: `maxTotalPricePerEpochUsd: price limit "cheap" is not a number`,
	},
}

type explainRequest struct {
	Constraints wishes   `json:"constraints,omitzero"`
	Instances   *integer `json:"instances,omitempty" minimum:"1" doc:"1 unless told."`
	Preferences
}

type explanation struct {
	Servers     int          `json:"servers" doc:"That there are."`
	Matching    int          `json:"matching" doc:"That meet everything."`
	Reasons     []reason     `json:"reasons"`
	Relaxations []relaxation `json:"relaxations"`
}

type reason struct {
	Constraint string `json:"constraint"`
	Wanted     string `json:"wanted"`
	Alone      int    `json:"alone" doc:"Servers that it rules out by itself."`
	InOrder    int    `json:"inOrder" doc:"Servers that it rules out of those left by the ones before."`
}

type relaxation struct {
	Constraint    string       `json:"constraint"`
	Change        string       `json:"change" doc:"A sentence."`
	Price         money.Amount `json:"price" doc:"USDC per epoch of one VM then." example:"0.61"`
	Configuration string       `json:"configuration"`
	Instances     int          `json:"instances"`
}

func (a *api) explainOffers(_ *call, in explainRequest) (explanation, error) {
	want, err := in.Constraints.market()
	if err != nil {
		return explanation{}, err
	}
	instances := integer(1)
	if in.Instances != nil {
		instances = *in.Instances
	}
	e, err := a.control.Explain(market.Request{
		Constraints: want, Instances: int(instances), Strategy: market.Strategy(in.Strategy), Apart: in.AffinityGroup != "",
	})
	out := explanation{Servers: e.Servers, Matching: e.Matching, Reasons: []reason{}, Relaxations: []relaxation{}}
	for _, r := range e.Reasons {
		out.Reasons = append(out.Reasons, reason(r))
	}
	for _, r := range e.Relaxations {
		out.Relaxations = append(out.Relaxations, relaxation{
			Constraint: r.Constraint, Change: r.Change, Price: r.Price, Configuration: r.Configuration.Slug(), Instances: r.Instances,
		})
	}
	return out, err
}
