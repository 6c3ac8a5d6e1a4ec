package control

import (
	"context"

	"github.com/cpucloud/cpucloud/internal/account"
	"github.com/cpucloud/cpucloud/internal/fault"
	"github.com/cpucloud/cpucloud/internal/market"
	"github.com/cpucloud/cpucloud/internal/store"
	"github.com/cpucloud/cpucloud/internal/vm"
)

// Server is a server as its provider sees it.
type Server struct {
	store.Server
	Offer      market.Offer // that lists it, perhaps a withdrawn one
	Datacenter market.Datacenter
	VMs        int // that are there, ended ones too until their agent removed them

	// Only of a server that was asked for alone.
	There    []vm.VM
	Timeline []vm.Event // oldest first
}

// Servers returns a provider's servers, oldest first, without those that were
// removed.
func (s *Service) Servers(ctx context.Context, who account.Actor, provider string) ([]Server, error) {
	list := []Server{}
	err := s.Store.Read(ctx, func(tx *store.Tx) error {
		p, err := s.provider(ctx, tx, who, provider)
		if err != nil {
			return err
		}
		servers, err := tx.ProviderServers(ctx, p.ID)
		if err != nil {
			return err
		}
		list, err = sold(ctx, tx, p, servers)
		return err
	})
	return list, err
}

// Server returns one server of a provider, by its id or its name, with its VMs
// and its timeline. One that was removed is found by its id.
func (s *Service) Server(ctx context.Context, who account.Actor, provider, given string) (one Server, err error) {
	err = s.Store.Read(ctx, func(tx *store.Tx) error {
		p, server, err := s.server(ctx, tx, who, provider, given)
		if err != nil {
			return err
		}
		list, err := sold(ctx, tx, p, []store.Server{server})
		if err != nil {
			return err
		}
		one = list[0]
		if one.There, err = tx.ServerVMs(ctx, server.ID); err != nil {
			return err
		}
		one.Timeline, err = tx.ServerEvents(ctx, server.ID)
		return err
	})
	return one, err
}

// sold returns servers with where they are sold.
func sold(ctx context.Context, tx *store.Tx, p store.Provider, servers []store.Server) ([]Server, error) {
	offers, err := tx.ProviderOffers(ctx, p.ID)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]market.Offer, len(offers))
	for _, o := range offers {
		byID[o.ID] = o
	}
	counts, err := tx.VMCounts(ctx, p.ID)
	list := make([]Server, len(servers))
	for i, server := range servers {
		o := byID[server.OfferID]
		list[i] = Server{Server: server, Offer: o, Datacenter: o.Datacenter, VMs: counts[server.ID]}
	}
	return list, err
}

// server returns a provider that the actor may act for and one of its servers,
// or a NotFound fault.
func (s *Service) server(ctx context.Context, tx *store.Tx, who account.Actor, provider, given string) (store.Provider, store.Server, error) {
	p, err := s.provider(ctx, tx, who, provider)
	if err != nil {
		return p, store.Server{}, err
	}
	server, err := tx.ProviderServer(ctx, p.ID, given)
	if fault.Is(err, fault.NotFound) {
		err = fault.Newf(fault.NotFound, "no server %.120q of provider %s", given, p.Name)
	}
	return p, server, err
}

// manage changes one server of a provider in a transaction, wakes whom do says,
// and returns the server as it is then.
func (s *Service) manage(ctx context.Context, who account.Actor, provider, given string,
	do func(tx *store.Tx, server store.Server) (rung []string, err error),
) (one Server, err error) {
	var rung []string
	err = s.Store.Write(ctx, func(tx *store.Tx) error {
		p, server, err := s.server(ctx, tx, who, provider, given)
		if err != nil {
			return err
		}
		if server.State == market.ServerRemoved {
			return fault.Newf(fault.Conflict, "server %s was removed; a machine joins again with a new token", nameOfServer(server))
		}
		if rung, err = do(tx, server); err != nil {
			return err
		}
		if server, err = tx.Server(ctx, server.ID); err != nil {
			return err
		}
		list, err := sold(ctx, tx, p, []store.Server{server})
		if err == nil {
			one = list[0]
		}
		return err
	})
	if err != nil {
		return Server{}, err
	}
	s.changed(ctx)
	s.ring(ctx, rung...)
	return one, nil
}

// told writes a server and a line of its timeline.
func (s *Service) told(ctx context.Context, tx *store.Tx, server store.Server, what, text string) error {
	return firstError(tx.UpdateServer(ctx, server), tx.PutServerEvent(ctx, server.ID, s.happened(what, s.Now().UTC(), text)))
}

// Benchmark asks a server to measure itself anew.
func (s *Service) Benchmark(ctx context.Context, who account.Actor, provider, given string) (Server, error) {
	return s.manage(ctx, who, provider, given, func(tx *store.Tx, server store.Server) ([]string, error) {
		server.MeasureWanted++
		server.Revision++ // its list is news
		return []string{"server:" + server.ID}, s.told(ctx, tx, server, "benchmark", "a benchmark was asked for")
	})
}
