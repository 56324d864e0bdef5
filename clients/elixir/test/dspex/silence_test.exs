defmodule DSPex.SilenceTest do
  @moduledoc "When a server that says nothing is asked, and when it is given up."
  use ExUnit.Case, async: true

  alias DSPex.Connection.{Backoff, Silence}

  @limits %{probe_after: 100, silence_timeout: 1_000}

  test "an idle server may be silent for ever" do
    assert {:wait, silence} = Silence.tick(Silence.new(0), 1_000_000, false, @limits)
    assert {:wait, _} = Silence.tick(silence, 1_000_050, true, @limits)
  end

  test "one that somebody waits for is asked, then given up" do
    assert {:wait, silence} = Silence.tick(Silence.new(0), 99, true, @limits)
    assert {:ask, silence} = Silence.tick(silence, 100, true, @limits)
    assert {:wait, silence} = Silence.tick(silence, 1_099, false, @limits)
    assert {:silent, _} = Silence.tick(silence, 1_100, false, @limits)
  end

  test "anything heard counts as an answer" do
    {:ask, silence} = Silence.tick(Silence.new(0), 100, true, @limits)
    assert {:wait, _} = silence |> Silence.heard(900) |> Silence.tick(950, true, @limits)
  end

  test "a caller that gave up is a reason to ask" do
    assert {:ask, _} = Silence.new(0) |> Silence.doubt() |> Silence.tick(100, false, @limits)
  end

  test "delays double up to the longest, with half of them jitter" do
    for {attempt, whole} <- [{0, 100}, {1, 200}, {3, 800}, {4, 1_000}, {1_000, 1_000}], _ <- 1..20 do
      assert Backoff.delay_ms({100, 1_000}, attempt) in (div(whole, 2) + 1)..(whole + 1)
    end
  end

  test "a server that lived long starts the delays anew" do
    assert {Backoff.attempt(5, nil), Backoff.attempt(5, 3_000), Backoff.attempt(5, 60_000)} == {5, 5, 0}
  end
end
