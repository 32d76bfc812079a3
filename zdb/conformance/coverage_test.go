package conformance

import "slices"

// stories are all of them.
func stories() []story {
	return slices.Concat(dataStories(), sequentialStories(), scanStories(),
		adminStories(), sessionStories(), protocolStories(), waitStories(), faultStories())
}
