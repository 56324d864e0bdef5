# One pool for several programs: a server on a Unix socket, two tenants, an operator.

lm = System.get_env("DSPEX_LM", "sim/example")
command = "DSPEX_COMMAND" |> System.get_env("dspex serve") |> String.split()
path = Path.join(System.tmp_dir!(), "dspex-example-#{System.pid()}.sock")

# Here the first instance starts the server and lets others in. In production the server
# stands beside your nodes (`dspex serve --listen unix:PATH`), and each node has its address.
{:ok, _} =
  DSPex.start_link(
    name: Example.Web,
    command: command,
    args: ["--listen", "stdio,unix:" <> path],
    lms: %{"default" => lm},
    tenant: "web",
    tenants: %{"web" => 3, "reports" => 1}
  )

DSPex.echo!(Example.Web, "ready?")

{:ok, _} =
  DSPex.start_link(
    name: Example.Reports,
    address: "unix:" <> path,
    lms: %{"default" => lm},
    tenant: "reports"
  )

program = {"Predict", "review: str -> mood: literal['glad', 'sad', 'angry']"}

reports =
  for number <- 1..20 do
    Task.async(fn ->
      DSPex.predict!(Example.Reports, program, %{review: "Review #{number}"}, lane: :batch).mood
    end)
  end

# An operator replaces all workers meanwhile; no call is lost by it.
replaced = DSPex.recycle!(Example.Web, :all)
mood = DSPex.predict!(Example.Web, program, %{review: "It broke after two days."}).mood
IO.puts("web: #{mood}")
IO.puts("reports: #{inspect(reports |> Task.await_many() |> Enum.frequencies())}")

%{"clients" => clients, "lanes" => lanes} = DSPex.info!(Example.Web)
lanes = lanes |> Map.keys() |> Enum.join(", ")
IO.puts("workers replaced: #{length(replaced)}; clients: #{length(clients)}; lanes: #{lanes}")

DSPex.stop(Example.Reports)
DSPex.stop(Example.Web)
