package api_test

import "time"

// The answers as a typed client decodes them: what the published API promises.

type offerAnswer struct {
	Configuration struct {
		Slug  string `json:"slug"`
		Price string `json:"price"`
	} `json:"configuration"`
	Resources []struct {
		Type     string            `json:"type"`
		Metadata map[string]string `json:"metadata"`
		Price    string            `json:"price"`
	} `json:"resources"`
	Datacenter datacenterAnswer `json:"datacenter"`
	Servers    []struct {
		AvailableBasicInstances uint               `json:"availableBasicInstances"`
		AdditionalResources     []additionalAnswer `json:"additionalResources"`
	} `json:"servers"`
	MaxAdditionalSupply []additionalAnswer `json:"maxAdditionalSupply"`
}

type additionalAnswer struct {
	Type     string            `json:"type"`
	Metadata map[string]string `json:"metadata"`
	Price    string            `json:"price"`
	Supply   uint              `json:"supply"`
	Units    string            `json:"units"`
	PerVM    *uint             `json:"perVmLimit"`
}

type datacenterAnswer struct {
	ID             string   `json:"id"`
	CountryCode    string   `json:"countryCode"`
	CityCode       string   `json:"cityCode"`
	CityIndex      uint     `json:"cityIndex"`
	Index          int      `json:"index"`
	Tier           uint     `json:"tier"`
	Certifications []string `json:"certifications"`
	Slug           string   `json:"slug"`
}

type vmAnswer struct {
	ID              string           `json:"id"`
	Name            string           `json:"vmName"`
	Status          string           `json:"status"`
	PricePerEpoch   string           `json:"pricePerEpoch"`
	ReservedBalance string           `json:"reservedBalance"`
	TotalSpent      string           `json:"totalSpent"`
	Resources       []resourceAnswer `json:"resources"`
	CreatedAt       time.Time        `json:"createdAt"`
	StatusChangedAt string           `json:"statusChangedAt"`
	NextBillingAt   *time.Time       `json:"nextBillingAt"`
	TerminatedAt    *time.Time       `json:"terminatedAt"`
	OSImage         string           `json:"osImage"`
	Datacenter      datacenterAnswer `json:"datacenter"`
	PublicIP        *string          `json:"publicIp"`
	Ports           []portAnswer     `json:"ports"`
}

type resourceAnswer struct {
	Type     string         `json:"type"`
	Supply   uint           `json:"supply"`
	Units    string         `json:"units"`
	Quantity uint           `json:"quantity"`
	Details  map[string]any `json:"details"`
	Metadata map[string]any `json:"metadata"`
}

type portAnswer struct {
	Port     uint16 `json:"port"`
	Protocol string `json:"protocol"`
}

type storyAnswer struct {
	vmAnswer
	Hostname string     `json:"hostname"`
	Reason   *string    `json:"reason"`
	Deadline *time.Time `json:"deadline"`
	Silent   *time.Time `json:"unreachableSince"`
	Payment  *struct {
		Missing string    `json:"missing"`
		Until   time.Time `json:"until"`
		Then    string    `json:"then"`
	} `json:"payment"`
	Drained *time.Time   `json:"drainedAt"`
	Waiting *waitAnswer  `json:"waiting"`
	Waits   []waitAnswer `json:"alsoWaiting"`

	PortsTag  string     `json:"portsEtag"`
	RevertsAt *time.Time `json:"portsRevertAt"`
	Protected bool       `json:"protected"`
	Disk      struct {
		Number int64   `json:"number"`
		Since  *string `json:"since"`
	} `json:"disk"`
	Rescue *struct {
		Since string `json:"since"`
		Image string `json:"image"`
	} `json:"rescue"`
	Power     string            `json:"power"`
	PriceOff  string            `json:"pricePowerOff"`
	Next      *string           `json:"nextPricePerEpoch"`
	KeptUntil *time.Time        `json:"keptUntil"`
	Labels    map[string]string `json:"labels"`
	Operation *string           `json:"operation"`
	Allowed   []string          `json:"allowedActions"`
	HostKeys  []struct {
		Type        string `json:"type"`
		Fingerprint string `json:"fingerprint"`
		PublicKey   string `json:"publicKey"`
	} `json:"sshHostKeys"`

	Timeline []struct {
		At   time.Time `json:"at"`
		Text string    `json:"text"`
	} `json:"timeline"`
}

type waitAnswer struct {
	For   string     `json:"for"`
	Why   string     `json:"why"`
	Since time.Time  `json:"since"`
	Until *time.Time `json:"until"`
	Next  string     `json:"next"`
}

type statusAnswer struct {
	ID              string  `json:"id"`
	Status          string  `json:"status"`
	StatusChangedAt string  `json:"statusChangedAt"`
	PublicIP        *string `json:"publicIp"`
}

type estimateAnswer struct {
	Deposit   string `json:"depositAmountUsdc"`
	Epochs    uint   `json:"depositEpochs"`
	Total     string `json:"totalPricePerEpoch"`
	Dearest   string `json:"maxPricePerEpoch"`
	Instances uint   `json:"instances"`
}

type imageAnswer struct {
	ID           string `json:"id"`
	Name         string `json:"name"`
	Distribution string `json:"distribution"`
	Slug         string `json:"slug"`
	DownloadURL  string `json:"downloadUrl"`
	Username     string `json:"username"`
	CreatedAt    string `json:"createdAt"`
	UpdatedAt    string `json:"updatedAt"`
}

type keyAnswer struct {
	Name        *string `json:"name"`
	Fingerprint string  `json:"fingerprint"`
	Algorithm   string  `json:"algorithm"`
	Comment     string  `json:"comment"`
	PublicKey   string  `json:"publicKey"`
	SnakeKey    string  `json:"public_key"`
	Active      bool    `json:"active"`
	CreatedAt   string  `json:"createdAt"`
}

type removedAnswer struct {
	RemovedIDs   []string `json:"removed_ids"`
	CamelIDs     []string `json:"removedIds"`
	Transactions []any    `json:"transactions"`
}

type accountAnswer struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	CreatedAt time.Time `json:"createdAt"`
	Balance   string    `json:"balance"`
	Reserved  string    `json:"reserved"`
	Spent     string    `json:"spent"`
	Payment   *struct {
		ID         string    `json:"id"`
		Source     string    `json:"source"`
		Amount     string    `json:"amount"`
		Reason     string    `json:"reason"`
		Actor      string    `json:"actor"`
		CreditedAt time.Time `json:"creditedAt"`
		Repeated   bool      `json:"repeated"`
	} `json:"payment"` // of a credit alone
}

type limitAnswer struct {
	Limit    *string `json:"limit"`
	Used     string  `json:"used"`
	Own      *string `json:"own"`
	Operator *string `json:"operator"`
}

type allowanceAnswer struct {
	PerDay   limitAnswer `json:"perDay"`
	PerMonth limitAnswer `json:"perMonth"`
	Running  limitAnswer `json:"running"`
}

type spendingAnswer struct {
	allowanceAnswer
	Key struct {
		ID string `json:"id"`
		allowanceAnswer
	} `json:"key"`
}

type apiKeyAnswer struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Role      string    `json:"role"`
	CreatedAt time.Time `json:"createdAt"`
	Current   bool      `json:"current"`
	Manages   bool      `json:"manages"`
	Secret    string    `json:"apiKey"`
	allowanceAnswer
}
