"""The frontier: an open world of herds, wolves, wood and fire. Everstep's sample game.

Gather, hunt, build fires, and mind the wolves at night. Read `GAME` below first: its
systems run in that order every tick.
"""

from games.frontier.avatar import away, back, join, pose_avatars, respawn, steer_avatars, talk, walk_avatars
from games.frontier.borders import arrive, fall_from_afar
from games.frontier.combat import fall, shoot, strike
from games.frontier.commands import COMMANDS, EVENTS
from games.frontier.components import ARCHETYPES, HISTORY, Position
from games.frontier.creatures import FAR, breed, walk_creatures
from games.frontier.harvest import build, harvest, heal, reach_over, regrow
from games.frontier.herds import think_herds
from games.frontier.mail import MAIL
from games.frontier.predators import bite, think_predators
from games.frontier.world import setup
from server.sim import Game
from server.sim.migrate import Migration, Saved


def as_it_is(saved: Saved) -> None:
    """Other behaviour, the same state.

    Versions 2 and 3 think at other ticks, and 3 less often where no player is. In 4 predators hunt on over
    borders, and hands reach over them.
    """


GAME = Game(
    name="frontier",
    version=4,
    position=Position,
    archetypes=ARCHETYPES,
    commands=COMMANDS,
    events=EVENTS,
    setup=setup,
    far=FAR,
    migrations=(
        Migration(old=1, new=2, forward=as_it_is, back=as_it_is),
        Migration(old=2, new=3, forward=as_it_is, back=as_it_is, same_mail=True),
        Migration(old=3, new=4, forward=as_it_is, back=as_it_is, same_mail=True),
    ),
    join=join,
    away=away,
    back=back,
    arrive=arrive,
    mail=MAIL,
    systems=(
        talk,
        respawn,
        steer_avatars,
        think_herds,
        think_predators,
        walk_avatars,
        walk_creatures,
        HISTORY.record,
        strike,
        shoot,
        fall_from_afar,
        bite,
        harvest,
        reach_over,
        build,
        heal,
        regrow,
        fall,
        breed,
        pose_avatars,
    ),
)

__all__ = ["GAME"]
