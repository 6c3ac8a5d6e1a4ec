package control

import "github.com/cpucloud/cpucloud/internal/market"

// Explain says which of the constraints rule out how many servers, and what
// would have to change for a deploy to find a place.
func (s *Service) Explain(r market.Request) (market.Explanation, error) {
	if err := checkInstances(int64(r.Instances)); err != nil {
		return market.Explanation{}, err
	}
	return s.shelf.Explain(r)
}
